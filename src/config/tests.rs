use super::*;

fn sources(environment: &[(&str, &str)]) -> Sources {
    Sources {
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Sources::default()
    }
}

fn flag(key: &str, value: &str) -> FlagValue {
    FlagValue {
        flag: "--set".to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn problems(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

#[test]
fn defaults_come_from_the_default_file() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config.database.url, "sqlite://parley.db?mode=rwc");
    assert_eq!(config.grpc.addr, "127.0.0.1:50051");
    assert_eq!(config.http.addr, "127.0.0.1:8080");
    assert_eq!(config.admin.addr, "127.0.0.1:9464");
    assert_eq!(config.limits.messages_per_conversation_per_minute, 200);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn every_default_passes_its_rule_and_every_key_has_a_comment() {
    let text = include_str!("../config.default.toml");
    for (table, keys) in &text.parse::<toml::Table>().unwrap() {
        for (key, value) in keys.as_table().unwrap() {
            rules::check(&format!("{table}.{key}"), value).unwrap();
        }
    }
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with("# "), "no comment above {}", pair[1]);
    }
}

#[test]
fn flags_override_environment_file_and_defaults() {
    let file = file("[writer]\nshards = 3\nqueue_messages = 30\nbatch_messages = 30\n[trace]\nsample_ratio = 0\n");
    let mut sources = sources(&[
        ("PARLEY_WRITER_QUEUE_MESSAGES", "40"),
        ("PARLEY_WRITER_BATCH_MESSAGES", "40"),
        ("HOME", "/"),
    ]);
    sources.file = Some(file.path().to_owned());
    sources.flags = vec![flag("writer.batch_messages", "50")];
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.writer.shards, 3);
    assert_eq!(config.writer.queue_messages, 40);
    assert_eq!(config.writer.batch_messages, 50);
    assert_eq!(config.writer.batch_bytes, 4_194_304);
    assert!(config.trace.sample_ratio.abs() < f64::EPSILON);
}

#[test]
fn flag_overrides_the_file_named_by_the_environment() {
    let (one, two) = (file("[writer]\nshards = 3\n"), file("[writer]\nshards = 4\n"));
    let mut sources = sources(&[("PARLEY_CONFIG", one.path().to_str().unwrap())]);
    assert_eq!(Config::load(&sources).unwrap().writer.shards, 3);
    sources.file = Some(two.path().to_owned());
    assert_eq!(Config::load(&sources).unwrap().writer.shards, 4);
}

#[test]
fn every_key_has_a_variable() {
    let config = Config::load(&sources(&[("PARLEY_LIMITS_MESSAGES_PER_CONVERSATION_PER_MINUTE", "0")])).unwrap();
    assert_eq!(config.limits.messages_per_conversation_per_minute, 0);
}

#[test]
fn unknown_names_are_reported_with_source_and_suggestion() {
    let file = file("[writer]\nshard = 3\n[writter]\nshards = 3\n");
    let mut sources = sources(&[("PARLEY_GRPC_ADDRESS", "127.0.0.1:0")]);
    sources.file = Some(file.path().to_owned());
    sources.flags = vec![flag("http.adr", "127.0.0.1:0")];
    let path = file.path().display();
    assert_eq!(
        problems(&sources),
        format!(
            "file {path}: unknown key `writer.shard`; did you mean `writer.shards`?\n\
             file {path}: unknown table `writter`; did you mean `writer`?\n\
             environment: unknown variable PARLEY_GRPC_ADDRESS; did you mean `PARLEY_GRPC_ADDR`?\n\
             flag --set: unknown key `http.adr`; did you mean `http.addr`?"
        )
    );
}

#[test]
fn invalid_values_are_reported_with_source_and_rule() {
    let file = file("[writer]\nshards = \"two\"\n[log]\nformat = \"xml\"\n");
    let mut sources = sources(&[
        ("PARLEY_WRITER_SHARDS", "65"),
        ("PARLEY_EVENTS_DEFAULT_HEARTBEAT_SECONDS", "soon"),
        ("PARLEY_ADMIN_ADDR", "9464"),
    ]);
    sources.file = Some(file.path().to_owned());
    sources.flags = vec![flag("trace.sample_ratio", "1.5")];
    let path = file.path().display();
    assert_eq!(
        problems(&sources),
        format!(
            "file {path}: `log.format` must be `text` or `json`, not \"xml\"\n\
             file {path}: `writer.shards` must be a whole number, not \"two\"\n\
             environment variable PARLEY_WRITER_SHARDS: `writer.shards` must be 1 to 64, not 65\n\
             environment variable PARLEY_EVENTS_DEFAULT_HEARTBEAT_SECONDS: `events.default_heartbeat_seconds` must be a whole number, not \"soon\"\n\
             environment variable PARLEY_ADMIN_ADDR: `admin.addr` must be `host:port`, such as 127.0.0.1:8080, not \"9464\"\n\
             flag --set: `trace.sample_ratio` must be 0.0 to 1.0, not 1.5"
        )
    );
}

#[test]
fn unreadable_file_is_reported_without_its_text() {
    let file = file("[bootstrap]\ntoken = \"a-secret-that-never-ends\n");
    let mut sources = Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    };
    let problem = problems(&sources);
    assert!(
        problem.starts_with(&format!("file {}: line 2: is not TOML", file.path().display())),
        "{problem}"
    );
    assert!(!problem.contains("a-secret"), "{problem}");
    sources.file = Some("/nowhere/parley.toml".into());
    assert!(problems(&sources).starts_with("file /nowhere/parley.toml: cannot be read: "));
}

#[test]
fn variables_of_kubernetes_and_client_commands_are_ignored() {
    let links = [
        ("PARLEY_SERVICE_HOST", "10.0.0.1"),
        ("PARLEY_SERVICE_PORT", "50051"),
        ("PARLEY_SERVICE_PORT_GRPC", "50051"),
        ("PARLEY_PORT", "tcp://10.0.0.1:50051"),
        ("PARLEY_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("PARLEY_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("PARLEY_ADMIN_SERVICE_HOST", "10.0.0.2"),
        ("PARLEY_ADMIN_PORT", "tcp://10.0.0.2:9464"),
        ("PARLEY_ADMIN_PORT_9464_TCP_PROTO", "tcp"),
        ("PARLEY_TOKEN", "whatever"),
        ("PARLEY_SERVER", "http://127.0.0.1:50051"),
    ];
    Config::load(&sources(&links)).unwrap();
    assert_eq!(
        problems(&sources(&[("PARLEY_GRPC_PORT", "50051")])),
        "environment: unknown variable PARLEY_GRPC_PORT; did you mean `PARLEY_GRPC_ADDR`?"
    );
}

#[test]
fn secrets_do_not_appear_in_errors_or_debug_output() {
    let problem = problems(&sources(&[
        ("PARLEY_DATABASE_URL", "mysql://ana:hunter2@db/parley"),
        ("PARLEY_BOOTSTRAP_TOKEN", "hunter2"),
    ]));
    assert!(!problem.contains("hunter2"), "{problem}");
    assert!(
        problem.contains("environment variable PARLEY_BOOTSTRAP_TOKEN: `bootstrap.token` must be 24 to 255"),
        "{problem}"
    );
    for url in [
        "postgres://ana:hunter2@db/parley",
        "postgres://ana:hunt@er/hunter2@db/parley",
        "postgres://db/parley?user=ana&password=hunter2&a=b",
    ] {
        let config = Config::load(&sources(&[
            ("PARLEY_DATABASE_URL", url),
            ("PARLEY_BOOTSTRAP_TOKEN", "hunter2hunter2hunter2hunter2"),
        ]))
        .unwrap();
        let debug = format!("{config:?}");
        assert!(debug.contains("***") && !debug.contains("hunter2"), "{debug}");
        assert!(debug.contains("/parley"), "{debug}");
    }
}

#[test]
fn file_variable_reads_the_value_from_a_file() {
    let (token, shards) = (file("a-token-in-a-file-of-its-own\n"), file("7\n"));
    let of = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    let config = Config::load(&sources(&[
        ("PARLEY_BOOTSTRAP_TOKEN_FILE", &of(&token)),
        ("PARLEY_WRITER_SHARDS_FILE", &of(&shards)),
        ("PARLEY_TLS_CERT_FILE", "a key of its own"),
    ]))
    .unwrap();
    assert_eq!(config.bootstrap.token, "a-token-in-a-file-of-its-own");
    assert_eq!((config.writer.shards, config.tls.cert_file.as_str()), (7, "a key of its own"));
    assert!(
        problems(&sources(&[("PARLEY_NATS_URL_FILE", "/nowhere")]))
            .starts_with("file /nowhere (named by PARLEY_NATS_URL_FILE): cannot be read")
    );
    let short = file("hunter2");
    let problem = problems(&sources(&[("PARLEY_BOOTSTRAP_TOKEN_FILE", &of(&short))]));
    assert!(
        problem.contains("`bootstrap.token` must be 24 to 255") && !problem.contains("hunter2"),
        "{problem}"
    );
    let problem = problems(&sources(&[
        ("PARLEY_BOOTSTRAP_TOKEN", "a-token-in-the-environment-1"),
        ("PARLEY_BOOTSTRAP_TOKEN_FILE", &of(&token)),
    ]));
    assert_eq!(
        problem,
        "environment: both PARLEY_BOOTSTRAP_TOKEN and PARLEY_BOOTSTRAP_TOKEN_FILE are set: set only one"
    );
}

/// The deprecated name of `writer.shards`.
fn deprecated_writer_lanes(source: &str, is_ignored: bool) -> Vec<DeprecatedKey> {
    vec![DeprecatedKey {
        key: "writer.lanes",
        replacement: "writer.shards",
        source: source.to_owned(),
        is_ignored,
    }]
}

#[test]
fn deprecated_key_is_accepted_from_every_source() {
    let file = file("[writer]\nlanes = 3\n");
    let in_file = Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    };
    let in_flag = Sources {
        flags: vec![flag("writer.lanes", "5")],
        ..sources(&[("PARLEY_WRITER_LANES", "4")])
    };
    for (sources, shards, source) in [
        (in_file, 3, format!("file {}", file.path().display())),
        (
            sources(&[("PARLEY_WRITER_LANES", "4")]),
            4,
            "environment variable PARLEY_WRITER_LANES".to_owned(),
        ),
        (in_flag, 5, "flag --set".to_owned()),
    ] {
        let config = Config::load(&sources).unwrap();
        assert_eq!(
            (config.writer.shards, config.deprecated_keys),
            (shards, deprecated_writer_lanes(&source, false))
        );
        let listed = settings(&sources).unwrap();
        let setting = listed.iter().find(|setting| setting.key == "writer.shards").unwrap();
        assert_eq!((&setting.value, &setting.source), (&shards.to_string(), &source));
    }
    assert!(Config::load(&Sources::default()).unwrap().deprecated_keys.is_empty());
}

#[test]
fn current_key_overrides_the_deprecated_one_in_any_layer() {
    let file = file("[writer]\nshards = 3\n");
    let mut sources = sources(&[("PARLEY_WRITER_LANES", "4")]);
    sources.file = Some(file.path().to_owned());
    let config = Config::load(&sources).unwrap();
    let source = "environment variable PARLEY_WRITER_LANES";
    assert_eq!(
        (config.writer.shards, &config.deprecated_keys),
        (3, &deprecated_writer_lanes(source, true))
    );
    assert_eq!(
        config.deprecated_keys[0].to_string(),
        "environment variable PARLEY_WRITER_LANES: `writer.lanes` is deprecated and ignored, because `writer.shards` is set: remove it"
    );
}

#[test]
fn invalid_value_of_a_deprecated_key_is_reported_under_that_key() {
    assert_eq!(
        problems(&sources(&[("PARLEY_WRITER_LANES", "65")])),
        "environment variable PARLEY_WRITER_LANES: `writer.lanes` must be 1 to 64, not 65"
    );
}

#[cfg(feature = "faults")]
#[test]
fn fault_switch_has_a_short_variable() {
    let config = Config::load(&sources(&[("PARLEY_FAULT", "counter_lock")])).unwrap();
    assert_eq!(config.fault.switch, "counter_lock");
}

#[cfg(not(feature = "faults"))]
#[test]
fn fault_switch_requires_the_feature() {
    assert!(problems(&sources(&[("PARLEY_FAULT", "counter_lock")])).contains("unknown variable PARLEY_FAULT"));
}

#[test]
fn passwords_in_urls_are_hidden() {
    for (url, expected) in [
        ("", ""),
        ("sqlite://parley.db", "sqlite://parley.db"),
        ("nats://TOKEN@host:4222", "nats://***@host:4222"),
        ("nats://TOKEN@h1,nats://u:p,w@h2", "nats://***@h1,nats://u:***@h2"),
        (
            "postgres://u:p?w@h/d?sslpassword=a&password=b",
            "postgres://u:***@h/d?sslpassword=***&password=***",
        ),
        ("postgres://u:p/w@x@h1,h2/d", "postgres://u:***@h1,h2/d"),
        ("http://u:pw@collector:4317", "http://u:***@collector:4317"),
    ] {
        assert_eq!(without_password(url), expected);
    }
}
