//! TLS on all listeners: with a server certificate, with client certificates, and with a certificate that changes while the server runs.

use std::{fs, path::Path, time::Duration};

use parley_proto::{GetProfileRequest, accounts_service_client::AccountsServiceClient};
use tonic::{
    Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    authority::Authority,
    database::Backend,
    http::Http,
    server::{Ended, program, run_to_end},
};

fn write(folder: &Path, (certificate, key): &(String, String)) {
    fs::write(folder.join("tls.crt"), certificate).expect("written");
    fs::write(folder.join("tls.key"), key).expect("written");
}

async fn secured(folder: &Path, client_ca: bool) -> TestApp {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_TLS_CERT_FILE", &path("tls.crt"))
        .env("PARLEY_TLS_KEY_FILE", &path("tls.key"))
        .env("PARLEY_TLS_LISTENERS", "grpc,http,admin");
    if client_ca {
        app = app.env("PARLEY_TLS_CLIENT_CA_FILE", &path("ca.crt"));
    }
    app.start().await
}

fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&authority.pem))
        .domain_name("parley.test")
}

async fn channel(app: &TestApp, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    let address = format!("https://{}", app.server.listeners.grpc);
    Endpoint::from_shared(address).expect("an address").tls_config(tls)?.connect().await
}

async fn profile(channel: Channel) -> Result<(), Status> {
    let mut request = Request::new(GetProfileRequest {});
    request
        .metadata_mut()
        .insert("api_access_token", ADMINISTRATOR.parse().expect("ASCII"));
    AccountsServiceClient::new(channel).get_profile(request).await.map(drop)
}

fn browser(authority: &Authority, identity: Option<&(String, String)>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).expect("a certificate");
    let mut client = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    if let Some((certificate, key)) = identity {
        let pem = format!("{certificate}{key}");
        client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity"));
    }
    client.build().expect("a client")
}

/// Uses the name in the certificate, resolved to the address of the listener.
fn at(client: &reqwest::Client, address: &str, path: &str) -> reqwest::RequestBuilder {
    client.get(format!("https://{address}{path}"))
}

#[tokio::test]
async fn every_listener_accepts_only_tls() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    write(folder.path(), &authority.sign("parley.test"));
    let app = secured(folder.path(), false).await;
    let over = channel(&app, trusting(&authority)).await.expect("TLS comes about");
    profile(over).await.expect("a call over it");
    let plain = app.clients().accounts.get_profile(GetProfileRequest {}).await;
    plain.expect_err("nothing is served without TLS");
    let strangers = channel(&app, trusting(&Authority::new())).await;
    strangers.expect_err("who trusts another authority does not connect");

    write(folder.path(), &authority.sign("127.0.0.1"));
    let client = browser(&authority, None);
    // The server checks the files every few seconds. Open connections stay as they are.
    for _ in 0..100 {
        if at(&client, &app.server.listeners.http, "/api/v1/profile").send().await.is_ok() {
            let http = Http::through(client.clone(), format!("https://{}", app.server.listeners.http), ADMINISTRATOR);
            assert_eq!(http.send("GET", "/api/v1/profile", None).await.status, 200);
            let health = at(&client, &app.server.listeners.admin, "/readyz").send().await.expect("TLS too");
            assert_eq!(health.status(), 200);
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the certificate was not renewed:\n{}", app.server.log());
}

#[tokio::test]
async fn client_certificates_are_required_if_configured() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    write(folder.path(), &authority.sign("parley.test"));
    fs::write(folder.path().join("ca.crt"), &authority.pem).expect("written");
    let app = secured(folder.path(), true).await;
    let shown = |(certificate, key): &(String, String)| trusting(&authority).identity(Identity::from_pem(certificate, key));
    let known = channel(&app, shown(&authority.sign("client")))
        .await
        .expect("a client that was signed");
    profile(known).await.expect("a call");
    for turned_away in [trusting(&authority), shown(&Authority::new().sign("client"))] {
        let called = match channel(&app, turned_away).await {
            Ok(channel) => profile(channel).await.map_err(drop),
            Err(_) => Err(()),
        };
        called.expect_err("without a certificate that was signed nobody comes in");
    }
}

#[tokio::test]
async fn unusable_certificate_is_named() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let ((certificate, _), (_, key)) = (authority.sign("a"), authority.sign("b"));
    write(folder.path(), &(certificate, key));
    let mut command = program();
    command
        .arg("serve")
        .current_dir(folder.path())
        .env("PARLEY_GRPC_ADDR", "127.0.0.1:0")
        .env("PARLEY_HTTP_ADDR", "127.0.0.1:0")
        .env("PARLEY_ADMIN_ADDR", "127.0.0.1:0")
        .env("PARLEY_TLS_CERT_FILE", "tls.crt")
        .env("PARLEY_TLS_KEY_FILE", "tls.key");
    let ended = run_to_end(command).await;
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.output.contains("tls.cert_file and tls.key_file do not match"),
        "{}",
        ended.output
    );
}

/// Runs `parley healthcheck` with the settings of the server.
async fn check(app: &TestApp, folder: &Path, options: &[&str]) -> Ended {
    let mut command = program();
    command
        .arg("healthcheck")
        .args(options)
        .env("PARLEY_TLS_CERT_FILE", folder.join("tls.crt"))
        .env("PARLEY_TLS_KEY_FILE", folder.join("tls.key"))
        .env("PARLEY_TLS_LISTENERS", "grpc,http,admin")
        .env("PARLEY_ADMIN_ADDR", &app.server.listeners.admin)
        .env("PARLEY_GRPC_ADDR", &app.server.listeners.grpc);
    run_to_end(command).await
}

#[tokio::test]
async fn container_health_check_follows_the_configuration() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    write(folder.path(), &authority.sign("parley.test"));
    let ca = folder.path().join("ca.crt").display().to_string();
    fs::write(&ca, &authority.pem).expect("written");
    let app = secured(folder.path(), false).await;
    // As HEALTHCHECK runs it: without options, at an address that is not in the certificate.
    let plain = check(&app, folder.path(), &[]).await;
    assert_eq!(plain.code, Some(0), "{}", plain.output);
    let verified = check(&app, folder.path(), &["--ca-file", &ca, "--server-name", "parley.test"]).await;
    assert_eq!(verified.code, Some(0), "{}", verified.output);
    let other = check(&app, folder.path(), &["--ca-file", &ca, "--server-name", "other.test"]).await;
    assert_eq!(other.code, Some(1), "a certificate for another name: {}", other.output);
    let grpc = check(&app, folder.path(), &["--grpc", "--ca-file", &ca, "--server-name", "parley.test"]).await;
    assert_eq!(grpc.code, Some(0), "{}", grpc.output);
    let asked = check(&app, folder.path(), &["--addr", &app.server.listeners.admin, "--tls"]).await;
    assert_eq!(asked.code, Some(0), "{}", asked.output);
    let without = check(&app, folder.path(), &["--addr", &app.server.listeners.admin]).await;
    assert_eq!(without.code, Some(1), "{}", without.output);
}
