//! What keeps a challenge from working here, of a policy that may challenge.

use super::Findings;
use crate::hindrance::Hindrance;

/// `found`: nothing if it could not be looked for.
pub fn check(found: Option<&[Hindrance]>, to: &mut Findings) {
    to.area("challenge");
    match found {
        None => to.unseen("whether a challenge would work"),
        Some([]) => to.ok("nothing was found that keeps a challenge from working"),
        Some(found) => {
            for Hindrance { services, what, advice } in found {
                let names: Vec<_> = services.iter().map(ToString::to_string).collect();
                to.problem(
                    format!("the challenge of {} cannot work: {what}", names.join(", ")),
                    advice.clone(),
                );
            }
        }
    }
}
