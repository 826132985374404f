//! Pages come whole, over both families.

use anyhow::Result;
use lab::wait::PATIENCE;
use lab::{Crowd, Lab, Server};

use super::targets;

#[test]
fn pages_come_whole() -> Result<()> {
    let lab = Lab::new()?;
    let server = Server::start(&lab)?;
    for (target, addresses) in
        [(targets()[0].0, lab.clients_v4()), (targets()[1].0, lab.clients_v6())]
    {
        let crowd = Crowd {
            pages_per_second: 200.0,
            seconds: 0.5,
            timeout: PATIENCE,
            ..Crowd::new(target, addresses)
        };
        let report = crowd.run(&lab)?;
        assert_eq!(
            (report.tried, report.ok, report.connect_ms.len()),
            (100, 100, 100),
            "{report:?}"
        );
        println!("{target}: connect {:.2} / {:.2} ms", report.connect_p50(), report.connect_p99());
    }
    let long = Crowd {
        path: "/bytes/300000".to_owned(),
        connections_per_page: 4,
        seconds: 0.5,
        timeout: PATIENCE,
        ..Crowd::new(targets()[0].0, lab.clients_v4())
    };
    let report = long.run(&lab)?;
    assert_eq!((report.tried, report.ok, report.connect_ms.len()), (5, 5, 20), "{report:?}");
    assert_eq!(server.accepted(), 220);

    drop(server);
    let refused =
        Crowd { seconds: 0.5, ..Crowd::new(targets()[0].0, lab.clients_v4()) }.run(&lab)?;
    assert_eq!((refused.tried, refused.ok), (5, 0), "{refused:?}");
    Ok(())
}
