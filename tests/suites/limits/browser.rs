//! A real browser in the waiting room: Chromium shows the page, which comes again by itself, and is
//! let in at last.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use lab::topology::FRONT_V4;
use lab::wait::{until, until_so};
use lab::{Desk, Server};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::page::{Room, full};
use super::{Front, challenge, decided};

/// Chromium with one page, told what to do through two pipes (the DevTools protocol).
struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    number: u64,
    session: Option<String>,
}

impl Browser {
    fn start(front: &Front, desk: &Desk) -> Self {
        let (to, from) = (desk.file("to-browser"), desk.file("from-browser"));
        for pipe in [&to, &from] {
            let made = Command::new("mkfifo").arg(pipe).status().expect("coreutils");
            assert!(made.success());
        }
        let mut command = front.lab.crowd.command("sh").expect("a namespace");
        let script = "exec chromium --headless --no-sandbox --disable-gpu --lang=en \
                      --disable-background-networking --no-first-run --remote-debugging-pipe \
                      --user-data-dir=\"$0\" about:blank 3<\"$1\" 4>\"$2\"";
        command.args(["-c", script]).arg(desk.file("chromium")).arg(&to).arg(&from);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh");
        // Both ends open one another: neither waits here for longer than for the shell.
        let to = OpenOptions::new().write(true).open(to).expect("the browser reads");
        let from = BufReader::new(File::open(from).expect("the browser writes"));
        let mut browser = Self { child, to, from, number: 0, session: None };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", &attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// What the browser answers; events are passed over.
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let mut said = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            said["sessionId"] = json!(session);
        }
        write!(self.to, "{said}\0").expect("chromium is installed by `cargo xtask setup`");
        loop {
            let mut message = Vec::new();
            self.from.read_until(0, &mut message).expect("it answers");
            message.pop();
            let message: Value = serde_json::from_slice(&message).expect("JSON");
            if message["id"] == self.number {
                return message["result"].clone();
            }
        }
    }

    /// What an expression of JavaScript is in the page, as text.
    fn sees(&mut self, expression: &str) -> String {
        let asked = json!({"expression": expression, "returnByValue": true});
        let said = self.call("Runtime.evaluate", &asked);
        said["result"]["value"].to_string()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        let _ = write!(self.to, "{{\"id\":0,\"method\":\"Browser.close\"}}\0");
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

#[test]
fn chromium_waits_and_is_let_in() {
    let front = challenge::front(&full(Challenge::Auto));
    let server = Server::start(&front.lab).expect("a server");
    let bind = || Ok(TcpListener::bind("[::]:443")?);
    let _https = front.lab.front.run(bind).expect("a listener");
    let desk = Desk::over(&front.lab.front, front.pins.base().to_owned()).expect("a desk");
    let _room = Room::start(&front, &desk);
    let first = super::page::curl(&front, front.lab.clients_v4()[0], "http", FRONT_V4, "en");
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");

    let mut browser = Browser::start(&front, &desk);
    browser.call("Page.navigate", &json!({"url": format!("http://{FRONT_V4}/")}));
    until_so("the page is shown", || browser.sees("document.title") == "\"You are in line\"");
    let text = browser.sees("document.body.innerText");
    assert!(text.contains("Do not reload: the page does it by itself"), "{text}");
    let layout = "getComputedStyle(document.querySelector('main')).borderTopStyle + ' ' + \
                  (document.documentElement.scrollWidth <= innerWidth) + ' ' + \
                  performance.getEntriesByType('resource').length";
    assert_eq!(browser.sees(layout), "\"solid true 0\"", "styled, and asks for nothing more");
    let shown = || decided(&front.service(0), Reason::DivertedProof);
    let before = shown();
    until_so("it comes again by itself", || shown() > before);
    assert_eq!(server.accepted(), 1, "{:?}", front.service(0));
    desk.ok("set --service web --budget 100/s");
    let page = until("it is let in", || {
        let page = browser.sees("document.body ? document.body.innerText : ''");
        page.starts_with("\"....").then_some(page)
    });
    assert!(page.len() > 1000 && server.accepted() >= 2, "{page}");
}
