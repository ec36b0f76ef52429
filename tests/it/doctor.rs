//! What `parley doctor` reports about files that the configuration and the environment name, and about proxies.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::support::{
    authority::Authority,
    server::{Ended, program, run_to_end},
};

async fn doctor(home: &Path, settings: &[(&str, &str)]) -> Ended {
    let mut command = program();
    command.arg("doctor").current_dir(home);
    for listener in ["GRPC", "HTTP", "ADMIN"] {
        command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
    }
    command.envs(settings.iter().copied());
    run_to_end(command).await
}

fn write(file: &Path, text: &str, mode: u32) {
    fs::write(file, text).expect("ours");
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("ours");
}

#[tokio::test]
async fn doctor_checks_telemetry_certificates() {
    let home = tempfile::tempdir().expect("a folder");
    let (certificate, key) = Authority::new().sign("parley.test");
    write(&home.path().join("client.crt"), &certificate, 0o600);
    write(&home.path().join("client.key"), &key, 0o600);
    write(&home.path().join("text.pem"), "no certificate", 0o600);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1");
    let seen = doctor(
        home.path(),
        &[
            endpoint,
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "missing.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "text.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "client.key"),
        ],
    )
    .await;
    assert_eq!(seen.code, Some(1), "{}", seen.output);
    for wrong in [
        "OTEL_EXPORTER_OTLP_CERTIFICATE=missing.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=text.pem",
    ] {
        let named = format!("FAIL  telemetry   {wrong}");
        assert_eq!(seen.output.matches(&named).count(), 1, "{named}: {}", seen.output);
    }
    assert!(!seen.output.contains("client.key"), "{}", seen.output);
    let half = doctor(home.path(), &[endpoint, ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "client.crt")]).await;
    assert!(half.output.contains("must be set together"), "{}", half.output);
    let whole = [
        endpoint,
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "client.crt"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "client.key"),
    ];
    let whole = doctor(home.path(), &whole).await;
    assert_eq!(whole.code, Some(0), "{}", whole.output);
}

#[tokio::test]
async fn doctor_checks_files_with_secrets() {
    let home = tempfile::tempdir().expect("a folder");
    let (token, nats) = (home.path().join("token"), home.path().join("nats"));
    let settings = [
        ("PARLEY_BOOTSTRAP_TOKEN_FILE", token.display().to_string()),
        ("PARLEY_NATS_URL_FILE", nats.display().to_string()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    write(&token, "a-token-of-more-than-24-characters\n", 0o640);
    write(&nats, "\n", 0o600);
    let seen = doctor(home.path(), &settings).await;
    assert_eq!(seen.code, Some(0), "{}", seen.output);
    let empty = format!("PARLEY_NATS_URL_FILE = {} is empty", nats.display());
    assert!(seen.output.contains(&empty), "{}", seen.output);
    assert!(!seen.output.contains("PARLEY_BOOTSTRAP_TOKEN_FILE"), "{}", seen.output);
    write(&token, "a-token-of-more-than-24-characters\n", 0o644);
    let seen = doctor(home.path(), &settings[..1]).await;
    let wide = format!("PARLEY_BOOTSTRAP_TOKEN_FILE = {} has the mode 644", token.display());
    assert!(seen.output.contains(&wide), "{}", seen.output);
    assert!(!seen.output.contains("a-token-of"), "{}", seen.output);
}

#[tokio::test]
async fn doctor_reports_proxy_requirements() {
    let home = tempfile::tempdir().expect("a folder");
    let url = ("PARLEY_HTTP_BASE_URL", "https://desk.example.org");
    let without = doctor(home.path(), &[]).await;
    assert!(!without.output.contains("client_max_body_size"), "{}", without.output);
    let seen = doctor(home.path(), &[url, ("PARLEY_FILES_MAX_BYTES", "12345678")]).await;
    assert_eq!(seen.code, Some(0), "{}", seen.output);
    for said in ["requests of 12345678 bytes", "client_max_body_size", "underscores_in_headers"] {
        assert!(seen.output.contains(said), "{said}: {}", seen.output);
    }
}

/// A missing folder for files is not created, and one that could not be created is an error.
#[tokio::test]
async fn doctor_creates_no_folder() {
    let home = tempfile::tempdir().expect("a folder");
    let missing = doctor(home.path(), &[("PARLEY_FILES_URL", "file:not/there/yet")]).await;
    assert_eq!(missing.code, Some(0), "{}", missing.output);
    assert!(
        missing.output.contains("the folder not/there/yet does not exist yet"),
        "{}",
        missing.output
    );
    assert_eq!(fs::read_dir(home.path()).expect("ours").count(), 0);
    write(&home.path().join("text"), "not a folder", 0o600);
    let wrong = doctor(home.path(), &[("PARLEY_FILES_URL", "file:text/below")]).await;
    assert_eq!(wrong.code, Some(1), "{}", wrong.output);
    assert!(wrong.output.contains("text is not a folder"), "{}", wrong.output);
}
