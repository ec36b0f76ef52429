//! The import graphs of small crates.

use std::collections::BTreeSet;

use super::{
    cycles, describe,
    import_graph::{Edges, ImportGraph, Sources},
};

fn edges(files: &[(&str, &str)]) -> Edges {
    let sources: Sources = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    ImportGraph::parse(&sources, "lib.rs").edges()
}

/// Every edge as `file -> file: names`.
fn lines(files: &[(&str, &str)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (file, used) in edges(files) {
        for (target, names) in used {
            let names: Vec<String> = names.into_iter().collect();
            lines.push(format!("{file} -> {target}: {}", names.join(", ")));
        }
    }
    lines
}

#[test]
fn declaring_a_module_adds_no_edge() {
    assert!(lines(&[("lib.rs", "mod a;"), ("a.rs", "pub fn f() {}")]).is_empty());
}

#[test]
fn use_trees_resolve_to_the_defining_files() {
    let lib = "mod a; mod b; pub struct Config;";
    let a = "use crate::{Config, b::{self, inner::{Two, Three as Four}, One}}; use std::{collections, sync::Arc};";
    let b = "pub mod inner; pub struct One;";
    let inner = "pub struct Two; pub struct Three;";
    assert_eq!(
        lines(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b), ("b/inner.rs", inner)]),
        ["a.rs -> b.rs: One", "a.rs -> b/inner.rs: Three, Two", "a.rs -> lib.rs: Config"]
    );
}

#[test]
fn paths_resolve_through_imported_modules() {
    let a = "use crate::b; use super::b as c; fn f(x: b::One) -> Vec<self::inner::Two> { c::g::<b::Three>(); super::b::Four::new() } mod inner { pub struct Two; fn h() { super::super::b::deep(); } }";
    let b = "pub struct One; pub struct Three; pub struct Four; pub fn g() {} pub fn deep() {}";
    assert_eq!(
        lines(&[("lib.rs", "mod a; mod b;"), ("a.rs", a), ("b.rs", b)]),
        ["a.rs -> b.rs: Four, One, Three, deep, g"]
    );
}

#[test]
fn child_modules_are_found_in_both_layouts() {
    let files = [
        ("lib.rs", "mod a; mod b; fn f() { a::one::g(); b::two::g(); }"),
        ("a.rs", "pub mod one;"),
        ("a/one.rs", "pub fn g() {}"),
        ("b/mod.rs", "pub mod two;"),
        ("b/two.rs", "pub fn g() { super::super::a::one::g(); }"),
    ];
    assert_eq!(
        lines(&files),
        ["b/two.rs -> a/one.rs: g", "lib.rs -> a/one.rs: g", "lib.rs -> b/two.rs: g"]
    );
}

#[test]
fn reexports_resolve_to_the_defining_file() {
    let lib = "mod a; mod b; pub use a::inner::Deep as Name; use b::private;";
    let a = "mod inner; pub use inner::{Deep, Other};";
    let b = "use crate::{Name, a::Other}; pub fn private() {}";
    let inner = "use crate::private; pub struct Deep; pub struct Other;";
    assert_eq!(
        lines(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b), ("a/inner.rs", inner)]),
        [
            "a/inner.rs -> b.rs: private",
            "b.rs -> a/inner.rs: Deep, Other",
            "lib.rs -> b.rs: private"
        ]
    );
}

#[test]
fn functions_and_modules_with_one_name_are_distinguished() {
    let lib = "mod a; mod b; pub use a::a;";
    let b = "use crate::a::Other; fn f() { crate::a(); }";
    let files = [
        ("lib.rs", lib),
        ("a.rs", "mod inner; pub use inner::a; pub struct Other;"),
        ("a/inner.rs", "pub fn a() {}"),
        ("b.rs", b),
    ];
    assert_eq!(lines(&files), ["b.rs -> a.rs: Other", "b.rs -> a/inner.rs: a"]);
}

#[test]
fn glob_imports_resolve_to_the_names_used() {
    let lib = "mod a; mod b; pub mod all { pub use super::b::*; }";
    let a = "use crate::all::*; fn f() { used(); } use crate::b::Kind::*;";
    let b = "pub fn used() {} pub fn unused() {} pub enum Kind { One }";
    assert_eq!(lines(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b)]), ["a.rs -> b.rs: Kind, used"]);
}

#[test]
fn macros_and_attributes_are_read() {
    let a = r#"
        use crate::b;
        #[derive(b::Derive)]
        struct A { #[serde(with = "crate::b::with", rename = "other")] at: i64 }
        fn f(x: &A) { assert!(x.at.b == b::value(&[crate::b::List::<u8>::NONE]), "b::text"); b::call!(); }
    "#;
    let b = "pub mod with; pub fn value() {} pub struct List; macro_rules! call { () => {} } pub(crate) use call; pub trait Derive {}";
    assert_eq!(
        lines(&[("lib.rs", "mod a; mod b;"), ("a.rs", a), ("b.rs", b), ("b/with.rs", "")]),
        ["a.rs -> b.rs: Derive, List, call, value"]
    );
}

#[test]
fn names_defined_by_macros_belong_to_the_module() {
    let a = "use crate::b::Entity; fn f() { crate::b::Column::Id; }";
    assert_eq!(
        lines(&[("lib.rs", "mod a; mod b;"), ("a.rs", a), ("b.rs", "entity!();")]),
        ["a.rs -> b.rs: Column, Entity"]
    );
}

#[test]
fn names_of_other_crates_are_ignored() {
    let lib = "mod a; mod trace; pub use other::joined; pub use trace::trace;";
    let a = "use crate::joined; use tracing::trace; fn f() { joined::g(); trace(); ::trace::h(); tracing::info!(); }";
    let trace = "pub fn trace() {}";
    assert!(lines(&[("lib.rs", lib), ("a.rs", a), ("trace.rs", trace)]).is_empty());
}

#[test]
fn test_code_is_ignored() {
    let a = r#"
        #[cfg(test)] mod tests { use crate::b; fn f() { b::g(); } }
        #[cfg(all(test, feature = "x"))] mod more;
        #[cfg(test)] use crate::b::g;
        struct A;
        impl A { #[cfg(test)] fn f() { crate::b::g(); } }
        #[cfg(any(test, feature = "x"))] fn f() { crate::b::h(); }
    "#;
    assert_eq!(
        lines(&[("lib.rs", "mod a; mod b;"), ("a.rs", a), ("b.rs", "pub fn g() {} pub fn h() {}")]),
        ["a.rs -> b.rs: h"]
    );
}

#[test]
fn cycles_list_the_names_that_cause_them() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; use crate::d::D; pub struct C;"),
        ("d.rs", "use crate::e::E; pub struct D;"),
        ("e.rs", "use crate::d::D; pub struct E;"),
    ];
    let edges = edges(&files);
    let found = cycles(&edges);
    assert_eq!(found, [BTreeSet::from(["a.rs", "b.rs", "c.rs"]), BTreeSet::from(["d.rs", "e.rs"])]);
    assert_eq!(
        describe(&found[0], &edges),
        "3 files\n  a.rs -> b.rs: B\n  b.rs -> c.rs: C\n  c.rs -> a.rs: A\n"
    );
}
