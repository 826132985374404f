//! What limiter is compared with can be set up and limits, and the comparison shows what it is there for: the benches of `--peers` and
//! `--accuracy` in their shortest form.
//!
//! Needs root. The bounds are lenient: other tests may build meanwhile; the bench itself judges its figures strictly.

use std::process::Command;

use lab::netns;
use lab::peer::Peer;
use serde_json::Value;

/// The cells in the JSON that the bench prints.
fn run(arguments: &[&str]) -> Vec<Value> {
    let bench = env!("CARGO_BIN_EXE_bench");
    let output =
        Command::new(bench).args(arguments).arg("--json").output().expect("the bench runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["cells"].as_array().expect("a list").clone()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("no {name} in {row}"))
}

/// The row of a cell.
fn cell<'a>(rows: &'a [Value], peer: Peer, flood: &str, family: u64) -> &'a Value {
    let wanted = |row: &&Value| {
        row["peer"] == peer.name() && row["flood"] == flood && row["family"] == family
    };
    rows.iter()
        .find(wanted)
        .unwrap_or_else(|| panic!("no cell of {}, {flood}, IPv{family}", peer.name()))
}

fn peers(arguments: &[&str]) -> Vec<Value> {
    const SHORT: [&str; 7] = ["peers", "--rounds", "1", "--seconds", "0.3", "--patience", "0.4"];
    run(&[&SHORT[..], arguments].concat())
}

#[test]
fn every_peer_can_be_set_up_and_limits() {
    let filters = &Peer::ALL[4..];
    // What has no rules of its own is the same for both families.
    for (family, all) in [(4_u64, &Peer::ALL[..]), (6, filters)] {
        let names: Vec<&str> = all.iter().map(|peer| peer.name()).collect();
        let rows = peers(&[
            "--floods",
            "random",
            "--families",
            &family.to_string(),
            "--only",
            &names.join(","),
        ]);
        for peer in all.iter().copied() {
            let (calm, flooded) =
                (cell(&rows, peer, "calm", family), cell(&rows, peer, "random", family));
            assert_eq!(
                calm["pages_ok"],
                calm["pages_tried"],
                "{} harms nobody in the calm: {calm}",
                peer.name()
            );
            assert!(number(flooded, "syn_per_second") > 10_000.0, "{flooded}");
            let has_count = !matches!(peer, Peer::Nothing | Peer::Syncookies(_));
            assert_eq!(flooded["refused_share"].is_f64(), has_count, "{flooded}");
            // 1,000 a second and a burst of 2,000 are let in, of at least 10,000 a second. What hashlimit drops because its table is full no
            // rule counts.
            let least = if peer == Peer::Hashlimit { 0.1 } else { 0.6 };
            assert!(!has_count || number(flooded, "refused_share") > least, "{flooded}");
        }
        let xdp_filter = cell(&rows, Peer::XdpFilter, "random", family);
        assert!(number(xdp_filter, "refused_share") > 0.999, "{xdp_filter}");
        let challenge = cell(&rows, Peer::LimiterChallenge, "random", family);
        assert!(
            number(challenge, "pages_ok") >= 0.9 * number(challenge, "pages_tried"),
            "{challenge}"
        );
    }
    netns::sweep().expect("namespaces can be listed");
}

#[test]
fn a_refused_syn_costs_limiter_less_than_others() {
    let only = [Peer::NftablesNetdev, Peer::Hashlimit, Peer::Limiter].map(Peer::name).join(",");
    for (family, floods) in [(4, &["1", "256", "65536", "random"][..]), (6, &["1", "random"])] {
        let rows = peers(&[
            "--only",
            &only,
            "--families",
            &family.to_string(),
            "--floods",
            &floods.join(","),
        ]);
        for flood in floods {
            let ns = |peer| number(cell(&rows, peer, flood, family), "cpu_ns_per_syn");
            let (mine, nftables, hashlimit) =
                (ns(Peer::Limiter), ns(Peer::NftablesNetdev), ns(Peer::Hashlimit));
            println!(
                "{flood} over IPv{family}: {mine:.0} ns, nftables {nftables:.0}, hashlimit {hashlimit:.0}"
            );
            assert!(2.0 * mine < nftables && 2.0 * mine < hashlimit, "{flood} over IPv{family}");
        }
    }
}

#[test]
fn limiter_is_as_exact_as_it_says() {
    let rows = run(&["accuracy", "--quick", "--seconds", "0.3"]);
    let mut checked = 0;
    for row in rows.iter().filter(|row| row["holds"].is_boolean()) {
        // A table that is too small for its sources is shown, not promised: what holds then is the budget.
        if row["limited"] == "sources" && number(row, "sources") * 8.0 > number(row, "places") {
            continue;
        }
        assert_eq!(row["holds"], true, "{row}");
        checked += 1;
    }
    assert!(checked > 40, "{checked} cells");
    let kernel = |row: &&Value| {
        row["how"] == "kernel" && row["limited"] == "budget_of_sources" && row["sources"] == 8192
    };
    assert_eq!(
        rows.iter().filter(kernel).count(),
        1,
        "a budget under four times as many sources as places"
    );
}
