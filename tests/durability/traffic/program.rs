//! A subscriber in a separate process: `parley tail`, killed repeatedly and resumed from its last cursor.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parley_proto::EventFilter;
use rand::Rng as _;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{AGAIN, Post, server_sent::delivered};
use crate::{
    history::{Begin, Ending, ReaderApi, Section, Step},
    support::{app::ADMINISTRATOR, server::program},
};

/// Reads the whole log of an account, across as many processes as it takes.
pub async fn follow(post: Post) {
    let mut choices = post.choices();
    let mut section = Section::new(
        &post.name,
        post.account,
        ReaderApi::Program,
        EventFilter::default(),
        Begin::Earliest,
    );
    // Nothing is trimmed in the accounts that these readers follow.
    section.floor = 1;
    loop {
        let from = section
            .cursor()
            .map_or_else(|| "earliest".to_owned(), |cursor| URL_SAFE_NO_PAD.encode(cursor));
        let mut command = program();
        command
            .args(["tail", "--json", "--account", &post.account.to_string(), "--from", &from])
            .env("PARLEY_SERVER", format!("http://{}", post.listeners().grpc))
            .env("PARLEY_TOKEN", ADMINISTRATOR)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        post.subscribers.add(child.id());
        let written = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, lines) = mpsc::channel(1000);
        std::thread::spawn(move || {
            for line in written.map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        let lifetime = Duration::from_millis(choices.random_range(500..4000));
        let whole = read(&post, lines, &mut section, lifetime).await;
        child.kill().expect("it is our child");
        post.subscribers.remove(child.id());
        child.wait().expect("it is our child");
        let late = post.due().is_some_and(|(_, until)| Instant::now() >= until);
        if whole || late {
            section.stuck = !whole;
            post.note(|history| history.sections.push(section));
            return;
        }
        section.steps.push(Step::Ended(Ending::Broken));
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads lines for a while. Returns true once the whole log has been read.
async fn read(post: &Post, mut lines: mpsc::Receiver<String>, section: &mut Section, lifetime: Duration) -> bool {
    let (mut end, mut server) = (post.end.clone(), post.servers[post.own].clone());
    end.borrow_and_update();
    server.borrow_and_update();
    let death = tokio::time::sleep(lifetime);
    tokio::pin!(death);
    loop {
        let due = post.due();
        if due.is_some_and(|(head, _)| section.position() >= head) {
            return true;
        }
        if due.is_some_and(|(_, until)| Instant::now() >= until) {
            return false;
        }
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else { return false };
                // A line truncated by the death of the process is not a complete event.
                let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
                let cursor = event["cursor"].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                section.steps.extend(cursor.and_then(|cursor| delivered(&event, Bytes::from(cursor))).map(Step::Event));
            }
            _ = end.changed() => {}
            // The server has a new address, so the process must be restarted.
            _ = server.changed() => return false,
            () = &mut death, if due.is_none() => return false,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
