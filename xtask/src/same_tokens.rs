//! Compares the tokens of changed sources with those of a revision. A commit that only rewrites comments must not change the tokens.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Compares the Rust sources in the work tree that differ from a revision.
///
/// # Errors
/// Returns an error that names each source whose tokens differ, and each that was added, removed or renamed.
pub fn check(arguments: &[String]) -> Result<()> {
    let Some((revision, paths)) = arguments.split_first() else {
        bail!("same-tokens needs a revision");
    };
    let mut diff = vec!["diff", "--name-status", "--no-renames", revision.as_str(), "--"];
    diff.extend(paths.iter().map(String::as_str));
    let changed = git(&diff)?;
    let mut compared = 0;
    let mut different = Vec::new();
    for line in changed.lines() {
        let Some((status, path)) = line.split_once('\t') else {
            bail!("git diff printed {line:?}");
        };
        if Path::new(path).extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        if status != "M" {
            different.push(format!("{path}: added, removed or renamed"));
            continue;
        }
        compared += 1;
        let before = tokens(&git(&["show", &format!("{revision}:{path}")])?, path)?;
        let after = tokens(&fs::read_to_string(path).with_context(|| path.to_owned())?, path)?;
        if let Some(position) = before.iter().zip(&after).position(|(one, other)| one != other) {
            different.push(format!(
                "{path}: `{}` became `{}`",
                excerpt(&before, position),
                excerpt(&after, position)
            ));
        } else if before.len() != after.len() {
            different.push(format!("{path}: {} tokens became {}", before.len(), after.len()));
        }
    }
    ensure!(different.is_empty(), "more than comments changed:\n{}", different.join("\n"));
    println!("{compared} sources changed, in comments alone");
    Ok(())
}

fn git(arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).output().context("failed to run git")?;
    ensure!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the tokens of a source, without comments. The lexer represents doc comments as attributes, which are omitted as well.
fn tokens(source: &str, path: &str) -> Result<Vec<String>> {
    let stream: TokenStream = source.parse().map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
    let mut tokens = Vec::new();
    collect(stream, &mut tokens);
    Ok(tokens)
}

fn collect(stream: TokenStream, tokens: &mut Vec<String>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let is_attribute = matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == '#');
        if is_attribute {
            let inner = trees.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
            if trees.next_if(is_doc).is_some() {
                continue;
            }
            tokens.push("#".to_owned());
            tokens.extend(inner.map(|punct| punct.to_string()));
            continue;
        }
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(open.to_owned());
                collect(group.stream(), tokens);
                tokens.push(close.to_owned());
            }
            other => tokens.push(other.to_string()),
        }
    }
}

/// Whether this is the part in brackets of `#[doc = "..."]`.
fn is_doc(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else { return false };
    let mut trees = group.stream().into_iter();
    let is_named_doc = matches!(trees.next(), Some(TokenTree::Ident(name)) if name == "doc");
    let is_assigned = matches!(trees.next(), Some(TokenTree::Punct(punct)) if punct.as_char() == '=');
    group.delimiter() == Delimiter::Bracket && is_named_doc && is_assigned
}

fn excerpt(tokens: &[String], position: usize) -> String {
    tokens[position.saturating_sub(3)..(position + 3).min(tokens.len())].join(" ")
}
