//! Aliases: a name of the user's own for one model or several.

use serde::Deserialize;

/// `[aliases]`: a list of refs tried in order, or a table that says how to choose.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a model ref, a list of them, or a table with `targets`")]
#[non_exhaustive]
pub enum Alias {
    /// `fast = "openai/gpt-y-mini"`.
    One(String),
    /// `fast = ["anthropic/claude-x", "openai/gpt-y-mini"]`.
    Ordered(Vec<String>),
    /// `[aliases.pool]`.
    Chosen(Choice),
}

/// `[aliases.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Choice {
    /// What it stands for.
    pub targets: Vec<Target>,
    /// How one is chosen.
    #[serde(default)]
    pub strategy: Strategy,
}

/// One model behind an alias.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a model ref, or `{ ref, weight }`")]
#[non_exhaustive]
pub enum Target {
    /// `"lab/model"`.
    Plain(String),
    /// `{ ref = "lab/model", weight = 2 }`.
    Weighted {
        /// The model ref.
        r#ref: String,
        /// Its share, beside the others'.
        #[serde(default = "one")]
        weight: u32,
    },
}

/// How the first of several targets is chosen; the others follow when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strategy {
    /// In the order given.
    #[default]
    Ordered,
    /// By chance, in proportion to the weights.
    Weighted,
}

impl Strategy {
    /// Returns its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Weighted => "weighted",
        }
    }
}

impl Alias {
    /// Returns the refs in the order in which they are to be tried. `draw` gives a number below its
    /// argument.
    pub fn order(&self, mut draw: impl FnMut(u64) -> u64) -> Vec<&str> {
        match self {
            Self::One(target) => vec![target],
            Self::Ordered(targets) => targets.iter().map(String::as_str).collect(),
            Self::Chosen(choice) => {
                let mut left: Vec<(&str, u64)> = choice.targets.iter().map(Target::parts).collect();
                if choice.strategy == Strategy::Ordered {
                    return left.into_iter().map(|(target, _)| target).collect();
                }
                let mut order = Vec::with_capacity(left.len());
                while !left.is_empty() {
                    order.push(left.remove(drawn(&left, &mut draw)).0);
                }
                order
            }
        }
    }

    /// Returns how one of the refs is chosen.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        match self {
            Self::Chosen(choice) => choice.strategy,
            Self::One(_) | Self::Ordered(_) => Strategy::Ordered,
        }
    }

    /// Returns every ref.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        let (plain, chosen): (&[String], &[Target]) = match self {
            Self::One(target) => (std::slice::from_ref(target), &[]),
            Self::Ordered(targets) => (targets, &[]),
            Self::Chosen(choice) => (&[], &choice.targets),
        };
        plain.iter().map(String::as_str).chain(chosen.iter().map(|target| target.parts().0))
    }
}

impl Target {
    fn parts(&self) -> (&str, u64) {
        match self {
            Self::Plain(target) => (target, 1),
            Self::Weighted { r#ref, weight } => (r#ref, u64::from(*weight)),
        }
    }
}

fn drawn(left: &[(&str, u64)], draw: &mut impl FnMut(u64) -> u64) -> usize {
    let sum: u64 = left.iter().map(|(_, weight)| weight).sum();
    if sum == 0 {
        return 0;
    }
    let mut at = draw(sum);
    for (index, (_, weight)) in left.iter().enumerate() {
        if at < *weight {
            return index;
        }
        at -= weight;
    }
    left.len() - 1
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        a: Alias,
    }

    fn alias(toml: &str) -> Alias {
        toml::from_str::<File>(toml).unwrap().a
    }

    #[test]
    fn a_list_is_tried_in_its_order() {
        let none = |_| panic!("nothing is drawn");
        assert_eq!(alias("a = 'x/y'").order(none), ["x/y"]);
        assert_eq!(alias("a = ['x/y', 'z/w']").order(none), ["x/y", "z/w"]);
        let table = alias("[a]\ntargets = ['x/y', { ref = 'z/w', weight = 9 }]");
        assert_eq!(table.order(none), ["x/y", "z/w"]);
        assert_eq!(table.targets().collect::<Vec<_>>(), ["x/y", "z/w"]);
    }

    #[test]
    fn what_belongs_together_goes_together_and_in_the_right_shares() {
        let pool =
            alias("[a]\nstrategy = 'weighted'\ntargets = [{ ref = 'x/y', weight = 3 }, 'z/w']");
        let first = |seed: u32| {
            let affinity = crate::router::Affinity::named(&seed.to_string());
            pool.order(affinity.draw())[0].to_owned()
        };
        let heavy = (0..4_000).filter(|seed| first(*seed) == "x/y").count();
        assert!((2_850..3_150).contains(&heavy), "{heavy}");
        assert!((0..100).all(|seed| first(seed) == first(seed)));
    }

    #[test]
    fn weights_are_shares() {
        let pool = alias(
            "[a]\nstrategy = 'weighted'\ntargets = [{ ref = 'x/y', weight = 2 }, 'z/w', { ref = 'n/n', weight = 0 }]",
        );
        let first = |at| pool.order(move |below| at % below)[0].to_owned();
        assert_eq!([first(0), first(1), first(2)], ["x/y", "x/y", "z/w"]);
        assert_eq!(pool.order(|_| 2), ["z/w", "n/n", "x/y"]);
    }
}
