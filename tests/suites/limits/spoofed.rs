//! A flood of random sources while others behave: nobody pays for it but those who are over their limits.

use aya::EbpfLoader;
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use lab::programs::COMPARE;
use lab::topology::FRONT_V4;
use lab::wait::coarse;
use lab::{Flood, Lab, PrivateBpffs, Sources};
use limiter::kernel::slots::Origin;
use limiter::kernel::{Maps, object};
use limiter::policy::Policy;
use limiter::report::Sample;
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::Counters;
use limiter_common::switch::Mode;

use super::{Front, decided, policy};

/// Turns of all sources.
const ROUNDS: u64 = 16;
/// Random sources in a turn: more than an LRU hash holds.
const RANDOM: u64 = 4 * LRU_ENTRIES as u64;
/// Those that behave: each comes once in a turn.
const BEHAVING: u64 = 500;
/// Entries of an LRU hash in the 4 MiB of the source table: 64 bytes each, without what the kernel keeps beside them.
const LRU_ENTRIES: u32 = 65_536;

/// Random sources and behaving ones ask for `web`. One that does not behave asks for `mail`: in each turn it comes, and its limit lets it
/// in twice.
fn two_services() -> Policy {
    let mut policy = policy(&["web=*:80", "mail=*:25"]);
    // An attempt is a debt for longer than a turn takes, so that the table is full after two of them.
    policy.source = Limit { rate: Rate { count: 1, period: 60_000_000_000 }, burst: 40 };
    // Its first attempt already is more in debt than any random source ever is, so that no set
    // which overflows by chance forgets it.
    policy.services[1].source =
        Some(Limit { rate: Rate { count: 1, period: 3_600_000_000_000 }, burst: 2 });
    policy
}

/// Drops everything on `attack0` behind XDP: here only verdicts matter, and an attempt that the stack answers costs so much that
/// the flood would be a tenth as strong.
pub fn discard_behind_xdp(lab: &Lab) {
    for rule in [
        "add table netdev lab",
        r#"add chain netdev lab in { type filter hook ingress device "attack0" priority 0; policy drop; }"#,
    ] {
        let done = lab
            .front
            .command("nft")
            .expect("a namespace")
            .arg(rule)
            .status()
            .expect("nft is installed by `cargo xtask setup`");
        assert!(done.success(), "nft {rule}");
    }
}

/// What the behaving and the heavy sources sent, in turns with random ones, so that the same comes between two attempts of a source on
/// any machine; and the time that it took, by the clock of sources.
fn storm(lab: &Lab) -> (u64, u64, f64) {
    discard_behind_xdp(lab);
    let start = coarse();
    let base = "11.0.0.1".parse().expect("an address");
    let web = (FRONT_V4, 80).into();
    let all = |flood: Flood| flood.run(lab).expect("a flood").sent;
    let flood = Flood { frames: RANDOM, seconds: 600.0, ..Flood::new(web, Sources::Random) };
    let behaving = Flood {
        frames: BEHAVING,
        ..Flood::new(web, Sources::Many { base, count: BEHAVING as u32 })
    };
    let heavy = Flood { frames: 1, ..Flood::new((FRONT_V4, 25).into(), Sources::One(base)) };
    let (mut behaved, mut came) = (0, 0);
    for _ in 0..ROUNDS {
        behaved += all(behaving.clone());
        came += all(heavy.clone());
        assert_eq!(all(flood.clone()), RANDOM, "all random sources came");
    }
    (behaved, came, (coarse() - start).as_secs_f64())
}

fn print(what: &str, web: &Counters, mail: &Counters, behaved: u64, heavy: u64) {
    println!(
        "{what}: {} of {behaved} behaving attempts refused, {} of {heavy} heavy attempts admitted, {} steals",
        decided(web, Reason::SourceLimit),
        decided(mail, Reason::Admitted),
        web.steals
    );
}

#[test]
fn the_table_remembers_heavy_sources_and_spares_the_others() {
    let front = Front::new(&two_services(), Mode::Enforce);
    let (behaved, heavy, seconds) = storm(&front.lab);
    let (web, mail) = (front.service(0), front.service(1));
    print("source table", &web, &mail, behaved, heavy);
    // Nearly all random sources come once, so whoever is refused here behaved.
    let refused = decided(&web, Reason::SourceLimit);
    assert!(
        (refused as f64) < behaved as f64 * 0.001,
        "{refused} of {behaved} behaving attempts were refused"
    );
    assert!(web.steals > 0, "steals are counted");
    let admitted = decided(&mail, Reason::Admitted);
    assert!(
        (2.0..=2.0 + seconds / 3600.0).contains(&(admitted as f64)),
        "the heavy source got {admitted} in {seconds} s"
    );
    assert_eq!((heavy, admitted + decided(&mail, Reason::SourceLimit)), (ROUNDS, heavy));
}

/// How much of the flood there is between two attempts of a heavy source depends on the machine.
mod measured {
    use super::*;

    /// The same limiter over an LRU hash in as much memory forgets the heavy source with everybody
    /// else. (If this fails, the comparison in docs/decisions/001 is wrong.)
    #[test]
    fn an_lru_hash_forgets_heavy_sources() {
        let lab = Lab::new().expect("a lab");
        let bpffs = PrivateBpffs::new().expect("a bpffs");
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("LRU", LRU_ENTRIES)
            .load(COMPARE)
            .expect("the object loads");
        let maps: Maps = object::prepare(
            &ebpf,
            bpffs.path(),
            &two_services(),
            &Origin::default(),
            Mode::Enforce,
        )
        .expect("a policy");
        let program: &mut Xdp =
            ebpf.program_mut("lru").expect("the program").try_into().expect("XDP");
        program.load().expect("the program loads");
        lab.front.run(|| Ok(program.attach("attack0", XdpMode::Driver)?)).expect("it attaches");
        let (behaved, heavy, _) = storm(&lab);
        let counters = Sample::take(&maps).expect("counters can be read").counters;
        print("LRU hash", &counters[1], &counters[2], behaved, heavy);
        let admitted = decided(&counters[2], Reason::Admitted);
        assert!(admitted * 2 > heavy, "the LRU let {admitted} of {heavy} through");
    }
}
