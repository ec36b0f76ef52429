//! The chart, the image and the published packages.

use anyhow::{Result, ensure};

use crate::checks::{
    cargo,
    runner::Runner,
    tools::{
        debian::{is_root, need_programs},
        node::need_schemas,
        python::need_packaging,
    },
};

/// Checks the chart and the image with Helm's library, Kubernetes' schemas, and the program itself.
pub fn check_packaging(runner: &Runner) -> Result<()> {
    let python = need_packaging(runner)?;
    need_schemas(runner)?;
    runner.stage("packaging: the chart and the image");
    cargo::build_program(runner)?;
    runner
        .command(python)
        .env("PARLEY_TEST_BINARY", runner.settings.program())
        .args(["-B", "-m", "unittest", "discover", "-s", "tests/helm"])
        .run()?;
    runner.print(
        "image: not built; its instructions were linted, and its last stage was run in a clean root with the test build. \
         './test image' builds it.\n",
    );
    Ok(())
}

/// Builds the image with buildah, on base images made by debootstrap.
pub fn build_image(runner: &Runner, options: &[String]) -> Result<()> {
    ensure!(
        runner.settings.is_plan || is_root(),
        "building the image needs chroot and mounts: run as root"
    );
    let programs = ["buildah", "debootstrap"];
    need_programs(runner, &programs, "building the image needs buildah and debootstrap", &programs)?;
    runner.command("python3").args(["-B", "tests/helm/built.py"]).args(options).run()
}

/// Builds the published crates, each from its package and with its own default features.
pub fn check_packages(runner: &Runner) -> Result<()> {
    runner.stage("packages");
    runner
        .command("cargo")
        .args(["package", "--locked", "--quiet"])
        .args(cargo::jobs(runner))
        .args(cargo::PUBLISHED.map(|name| format!("--package=parley-{name}")))
        .run()?;
    let check = || runner.command("cargo").args(["check", "--locked"]).args(cargo::jobs(runner));
    check().args(["--package", "parley-client", "--no-default-features"]).run()?;
    check().args(["--package", "parley-conformance"]).run()
}
