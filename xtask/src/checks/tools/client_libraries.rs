//! Published libraries for Chatwoot's API, each with its own versions of its dependencies, and a browser with its driver.

use std::{fs, thread};

use anyhow::{Result, ensure};

use crate::checks::{
    runner::Runner,
    tools::{
        debian::{need_npm, need_programs},
        node::npm_install,
        python::need_python,
    },
};

// tests/helm/test_links.py compares these versions with those of docs/clients.md.
const CLIENT_PYTHON_PACKAGES: [&str; 3] = ["chatwoot-sdk==0.2.0", "chatwoot-client==0.1.2", "chatwoot-python-client==1.0.0.18"];
const CLIENT_NODE_PACKAGES: [&str; 5] = [
    "@figuro/chatwoot-sdk@1.1.17",
    "@rails/actioncable@8.1.400",
    "ws@8.23.0",
    "eventsource@3.0.7",
    "playwright-core@1.58.2",
];

/// Installs the libraries into `clients` of the tools: one folder for each Python library, named after its flow, because they need different versions
/// of httpx.
pub fn need_clients(runner: &Runner) -> Result<()> {
    let python = need_python(runner, "pip", &["pip"])?;
    need_programs(runner, &["chromium"], "the cross-origin test needs Chromium", &["chromium"])?;
    let folder = runner.settings.tools.join("clients");
    let (python_names, node_names) = (CLIENT_PYTHON_PACKAGES.join(" "), CLIENT_NODE_PACKAGES.join(" "));
    let versions = format!("{python_names} {node_names}\n");
    let marker = folder.join("installed");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == versions) {
        return Ok(());
    }
    need_npm(runner, "the client flows need npm")?;
    if !runner.settings.is_plan {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
    }
    runner.stage(format!("npm: {node_names}; Python: {python_names}"));
    let mut installs = vec![npm_install(runner, &folder, &CLIENT_NODE_PACKAGES)];
    for package in CLIENT_PYTHON_PACKAGES {
        let name = package.split("==").next().unwrap_or(package).replace('-', "_");
        let install = runner
            .command(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
            .arg(folder.join("python").join(name))
            .arg(package);
        installs.push(install);
    }
    // All at once, because they mostly wait for the network.
    let are_installed = thread::scope(|scope| {
        let threads: Vec<_> = installs.into_iter().map(|install| scope.spawn(|| install.run())).collect();
        let ended: Vec<bool> = threads.into_iter().map(|thread| matches!(thread.join(), Ok(Ok(())))).collect();
        ended.into_iter().all(|is_installed| is_installed)
    });
    ensure!(are_installed, "npm or pip could not install the libraries of the client flows");
    if !runner.settings.is_plan {
        fs::write(&marker, versions)?;
    }
    Ok(())
}
