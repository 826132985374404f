//! What keeps a challenge from working here, of a policy that may challenge.

use limiter_common::reply::Own;

use super::Findings;
use crate::hindrance::Hindrance;
use crate::policy::Name;

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

/// What challenges say in place of the kernel, of each service and family that is known.
pub fn answers(known: &[(Name, bool, Own)], to: &mut Findings) {
    to.area("challenge");
    if known.is_empty() {
        to.ok("no SYN-ACK of the kernel itself was seen lately: answers to challenges go by the \
               device's MTU and the kernel's usual window (`limiter run` looks for such SYN-ACKs \
               every ten seconds)");
    }
    for (name, is_v6, own) in known {
        let said = |number: Option<u32>| number.map_or("none".to_owned(), |it| it.to_string());
        to.ok(format!(
            "answers to challenges of {name} over IPv{} say what the kernel says: MSS {}, window {}, \
             scale {}",
            if *is_v6 { 6 } else { 4 },
            said(own.mss().map(u32::from)),
            said(own.window().map(u32::from)),
            said(own.scale()),
        ));
    }
}
