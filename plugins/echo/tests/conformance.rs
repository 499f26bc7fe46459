//! What `maestro plugin check` finds without a worker.

use echo::Echo;
use plugin_api::kit::conformance;

#[test]
fn every_rule_of_the_contract_is_kept() {
    // It answers without asking anybody: there is nothing to record.
    conformance::assert::<Echo>(&[]);
}
