//! Serves one scenario of the conformance kit, for clients in any language: `cargo run --example misbehaving_server -- skips 127.0.0.1:50061`.
//! Without arguments it lists the scenarios and how a client has to end.

use std::sync::{Arc, Mutex};

use parley_conformance::{SCENARIOS, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        for scenario in SCENARIOS {
            println!("{:<26} {:?}", scenario.name, scenario.expect);
        }
        return Ok(());
    };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or("no such scenario")?;
    let address = words.next().unwrap_or_else(|| "127.0.0.1:50061".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!(
        "{name} at http://{address}: events 1 to 10 of account 1; a client has to end with {:?}",
        scenario.expect
    );
    let seen = Arc::new(Mutex::default());
    tokio::select! {
        served = serve(*scenario, listener, Arc::clone(&seen)) => drop(served?),
        _ = tokio::signal::ctrl_c() => {}
    }
    println!("asked: {:?}", seen.lock().map_err(|_| "the server panicked")?);
    Ok(())
}
