//! `limiter attach`.

use anyhow::Result;
use clap::Args;
use limiter_common::challenge::Challenge;
use limiter_common::record::DEFAULT_SETS;
use limiter_common::source_table::WAYS;
use limiter_common::switch::Mode;
use serde::Serialize;

use super::settings::{Typed, applied_around, apply_to_host, apply_to_service};
use super::{Context, Usage, settle};
use crate::kernel::interface::Attachment;
use crate::kernel::link::{self, Attached};
use crate::kernel::slots::Origin;
use crate::kernel::{Maps, cookies, object, open};
use crate::output;
use crate::policy::file::Document;
use crate::policy::settings::{Settings, Value};
use crate::policy::{Policy, Service, text};
use crate::report::{self, mode};

/// Arguments of `attach`. Limits are those of the first attach; later `limiter set` changes them.
#[derive(Args, Debug)]
pub struct Attach {
    /// Interfaces that receive the connections.
    #[arg(required = true, value_name = "IFACE")]
    interfaces: Vec<String>,
    /// A service to limit: NAME=ADDR:PORT,... such as `web=*:80,*:443`. May be given several times.
    #[arg(long, value_name = "NAME=ADDR:PORT,...", value_parser = text::service)]
    service: Vec<Service>,
    #[command(flatten)]
    said: Typed<false>,
    /// Let limiter set net.ipv4.tcp_syncookies to 2 while it enforces a challenge; it puts the
    /// setting back afterwards. With a budget, every service then challenges sources while the
    /// budget is short (`auto`).
    #[arg(long)]
    set_syncookies: bool,
    /// Attach in the kernel's generic path, for drivers without XDP. This is slower: the kernel
    /// allocates an skb for every packet before limiter judges it.
    #[arg(long)]
    generic: bool,
    /// Attach beside other XDP programs, as a component of the dispatcher that libxdp's programs
    /// (xdp-loader, xdp-filter and others) share. limiter runs first. This costs a few nanoseconds
    /// per packet, and needs CAP_SYS_ADMIN too.
    #[arg(long)]
    dispatcher: bool,
    /// Start in enforce mode: drop attempts over the limits from the first packet on.
    #[arg(long)]
    enforce: bool,
}

#[derive(Serialize)]
struct Done {
    attached: Vec<Interface>,
    mode: &'static str,
    loaded: bool,
    /// Whether services are challenged when the budget runs short.
    challenges: bool,
}

#[derive(Serialize)]
struct Interface {
    name: Option<String>,
    index: u32,
    attachment: Option<Attachment>,
    in_dispatcher: bool,
}

impl Attach {
    /// Attaches all interfaces or none.
    pub fn run(&self, context: &Context) -> Result<()> {
        let mut names = self.interfaces.clone();
        names.sort_unstable();
        names.dedup();
        let policy = self.policy(self.set_syncookies || cookies::works()?)?;
        let pins = &context.pins;
        let _lock = context.lock()?;
        let loaded = !pins.is_loaded()?;
        if !loaded && self.has_settings() {
            let message = "limiter is already loaded, so its limits stay as they are: leave out \
                           --service, limits, --sources and --enforce, and change them with \
                           `limiter set` and `limiter arm`";
            return Err(Usage(message.to_owned()).into());
        }
        let note = context.note(Maps::open(&pins.root()).ok().as_ref());
        let attached = self.load_and_attach(context, loaded, &policy, &names);
        if attached.is_err() && loaded {
            // What this command loaded goes with its failure: state is whole or absent.
            cookies::put_back(pins)?;
            link::unload(pins)?;
        }
        let attached = attached?;
        let maps = Maps::open(&pins.root())?;
        note.record(Some(&maps), changes(&attached, loaded.then_some(&policy)));
        let mode = mode(maps.selection()?.mode);
        let done = Done {
            attached: attached.into_iter().map(Interface::from).collect(),
            mode,
            loaded,
            challenges: loaded && policy.may_challenge(),
        };
        report::done(context.format, &done, |done| describe(done, &policy));
        Ok(())
    }

    fn load_and_attach(
        &self,
        context: &Context,
        load: bool,
        policy: &Policy,
        names: &[String],
    ) -> Result<Vec<Attached>> {
        let pins = &context.pins;
        if load {
            let mode = if self.enforce { Mode::Enforce } else { Mode::Observe };
            let sources = applied_around(&self.said.0, &Document::default()).sources;
            let sources = sources.unwrap_or(DEFAULT_SETS * WAYS as u32);
            object::load(pins, sources, policy, &Origin::default(), mode, self.set_syncookies)?;
        }
        let mut maps = Maps::open(&pins.root())?;
        let attached = if self.dispatcher {
            link::join(pins, names, self.generic)?
        } else {
            link::attach(pins, names, self.generic)?
        };
        maps.settle_cookies()?;
        if let Some(failure) = open::settled(pins, &mut maps) {
            output::note(format_args!("{failure}"));
        }
        settle::follow(pins, &maps, false)?;
        Ok(attached)
    }

    fn has_settings(&self) -> bool {
        !self.service.is_empty() || !self.said.0.is_empty() || self.set_syncookies || self.enforce
    }

    /// The first policy. A budget that a spoofer could spend is guarded by a challenge where the kernel makes cookies for one.
    fn policy(&self, has_cookies: bool) -> Result<Policy> {
        let mut policy = Policy { services: self.service.clone(), ..Policy::default() };
        apply_to_host(&self.said.0, &mut policy)?;
        if has_cookies && !policy.budget.is_none() {
            let challenged =
                Settings([("challenge", Value::Number(Challenge::Auto as u64))].into());
            for service in &self.service {
                apply_to_service(&challenged, &mut policy, &service.name)?;
            }
        }
        Ok(policy)
    }
}

impl From<Attached> for Interface {
    fn from(attached: Attached) -> Self {
        let Attached { index, name, attachment, in_dispatcher } = attached;
        Self { name, index, attachment, in_dispatcher }
    }
}

/// What the history says: where it is attached, and the policy if this loaded one.
fn changes(attached: &[Attached], loaded: Option<&Policy>) -> Vec<String> {
    let mut lines: Vec<String> = attached
        .iter()
        .map(|one| {
            let name = one.name.clone().unwrap_or_else(|| format!("index {}", one.index));
            let place = match one.attachment {
                Some(Attachment::Generic) => " (generic mode)",
                _ => "",
            };
            let beside = if one.in_dispatcher { ", in a dispatcher" } else { "" };
            format!("attached to {name}{place}{beside}")
        })
        .collect();
    let Some(policy) = loaded else { return lines };
    lines.push(format!("host source limit: {}", text::show_limit(policy.source)));
    lines.push(format!("host budget: {}", text::show_limit(policy.budget)));
    lines.extend(policy.services.iter().map(|service| {
        let challenge = text::show_challenge(service.admission.challenge);
        format!(
            "service {}: {}, challenge {challenge}",
            service.name,
            text::show_listeners(&service.listeners).join(" ")
        )
    }));
    lines
}

fn describe(done: &Done, policy: &Policy) -> String {
    let mut text = String::new();
    for interface in &done.attached {
        let name = interface.name.clone().unwrap_or_else(|| format!("index {}", interface.index));
        let place = match interface.attachment {
            Some(Attachment::Generic) => {
                "generic mode, slow: use it to try things, not under attack"
            }
            _ => "native mode",
        };
        let beside = if interface.in_dispatcher { ", in a dispatcher" } else { "" };
        text.push_str(&format!("attached to {name} ({place}{beside})\n"));
    }
    text.push_str(match done.mode {
        "enforce" => "mode enforce: attempts over the limits are dropped\n",
        _ => "mode observe: nothing is dropped; `limiter status` counts, `limiter arm` starts dropping\n",
    });
    if done.loaded && policy.services.is_empty() {
        text.push_str(
            "no service is protected yet, so nothing is limited: detach, and attach again with \
             --service web=*:80,*:443\n",
        );
    } else if done.loaded && !policy.has_limits() {
        text.push_str("no limit is set yet: `limiter set --source-rate 20/s --budget 1000/s`\n");
    } else if done.challenges {
        text.push_str("when the budget runs short, sources are challenged\n");
    } else if done.loaded && !policy.budget.is_none() {
        text.push_str(
            "nobody is challenged, so spoofed sources can spend the budget: net.ipv4.tcp_syncookies is not 2\n\
             let limiter set it while it enforces: `limiter set --set-syncookies yes`, `limiter set --service NAME --challenge auto`\n",
        );
    }
    text
}
