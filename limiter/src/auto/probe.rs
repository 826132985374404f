//! The page that is asked of a server: over a connection of its own, and through its accept queue,
//! as a client's would be.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use limiter_policy::auto::{Auto, Probe};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the answer took.
///
/// # Errors
/// Why there was none within twice the time that it may take, or that it was an error of the
/// server's (5xx).
pub async fn ask(probe: &Probe) -> Result<Duration, String> {
    let start = Instant::now();
    match timeout(2 * probe.slow, answer(probe)).await {
        Ok(Ok(())) => Ok(start.elapsed()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("none within {} ms", 2 * probe.slow.as_millis())),
    }
}

/// The same for who has no runtime; `None`: nothing is asked for.
pub fn once(auto: &Auto) -> Option<Result<Duration, String>> {
    let probe = auto.probe.as_ref()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Some(match runtime {
        Ok(runtime) => runtime.block_on(ask(probe)),
        Err(error) => Err(format!("cannot start a runtime: {error}")),
    })
}

async fn answer(probe: &Probe) -> Result<(), String> {
    let said = |error: hyper::Error| error.to_string();
    let stream = TcpStream::connect(&probe.authority).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let request = Request::get(&probe.path)
        .header(HOST, &probe.authority)
        .header(USER_AGENT, "limiter")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let ask = async {
        let mut response = sender.send_request(request).await.map_err(said)?;
        while let Some(frame) = response.body_mut().frame().await {
            frame.map_err(said)?;
        }
        match response.status() {
            status if status.is_server_error() => Err(format!("it says {status}")),
            _ => Ok(()),
        }
    };
    tokio::select! {
        answer = ask => answer,
        ended = connection => Err(ended.err().map_or("it closed".to_owned(), |error| error.to_string())),
    }
}
