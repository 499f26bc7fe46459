//! Asks a model from a program of your own: `cargo run --example ask -- echo/echo "Hello"`.
//!
//! Uses the same home as the command line; `MAESTRO_HOME` names another.

use std::io::Write as _;

use host::{
    Maestro,
    config::Config,
    home::Home,
    maestro::{Call, Error},
};
use plugin_api::{
    chat::{ChatRequest, Message},
    event::ChatEvent,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Plugins that are not trusted run in copies of this program.
    host::plugin::worker::run_if_asked();
    tokio::runtime::Runtime::new()?.block_on(ask())
}

async fn ask() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(prompt)) = (arguments.next(), arguments.next()) else {
        return Err("expected a model ref and a prompt".into());
    };
    let home = Home::from_env()?;
    let config = Config::read(&home.config_file())?;
    let maestro = Maestro::open(home, config)?;
    answer(&maestro, &model, &prompt).await.map_err(Into::into)
}

async fn answer(maestro: &Maestro, model: &str, prompt: &str) -> Result<(), Error> {
    let model = maestro.parse_model(model).await?;
    let request = ChatRequest::new(model.model.clone(), vec![Message::user(prompt)]);
    let mut stream = maestro.stream_chat(&model, request, Call::default()).await?;
    while let Some(event) = stream.next().await {
        if let ChatEvent::TextDelta { text, .. } = event? {
            print!("{text}");
            let _ = std::io::stdout().flush();
        }
    }
    println!();
    Ok(())
}
