//! The import graph of a crate: which source files use names that another file defines.
//!
//! The graph is derived from syntax only. Method calls (`value.method()`) and names that a macro generates add no edges; an inherent method
//! counts as defined in the file of its type. `#[cfg(test)]` items are ignored.

use std::collections::{BTreeMap, BTreeSet};

use super::syntax::{Import, Module, parse};

/// The text of a crate's source files, by path below `src`.
pub type Sources = BTreeMap<String, String>;

/// For each file, the files that it uses and the names that it uses from them.
pub type Edges = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a path resolves to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(usize),
    Item { file: String, name: String },
}

/// The modules of a crate with their imports.
#[derive(Debug)]
pub struct ImportGraph {
    modules: Vec<Module>,
}

impl ImportGraph {
    /// Parses the modules that `root` (`lib.rs` or `main.rs`) declares, recursively.
    ///
    /// # Panics
    /// Panics if a file is missing or cannot be parsed.
    pub fn parse(sources: &Sources, root: &str) -> Self {
        Self {
            modules: parse(sources, root),
        }
    }

    /// The files from which each file uses names.
    ///
    /// An import of a module is not an edge; the uses of names through it are. A re-export is not an edge either, and a name that is used
    /// through it leads to the file that defines it.
    pub fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (at, module) in self.modules.iter().enumerate() {
            let imports = module
                .imports
                .iter()
                .filter(|import| !import.is_reexport)
                .map(|import| &import.path);
            for path in imports.chain(&module.paths) {
                for target in self.resolve(at, path, &mut Vec::new()) {
                    if let Target::Item { file, name } = target
                        && file != module.file
                    {
                        let used = edges.entry(module.file.clone()).or_default();
                        used.entry(file).or_default().insert(name);
                    }
                }
            }
        }
        edges
    }

    /// The targets of a path in a module. Empty for names of other crates and for local names.
    ///
    /// `open` holds the imports that are being resolved: `use name::name` must not resolve its own first segment.
    fn resolve(&self, module: usize, path: &[String], open: &mut Vec<(usize, String)>) -> BTreeSet<Target> {
        let Some((first, mut rest)) = path.split_first() else {
            return BTreeSet::new();
        };
        let mut targets = match first.as_str() {
            "crate" => BTreeSet::from([Target::Module(0)]),
            "self" => BTreeSet::from([Target::Module(module)]),
            "super" => {
                let mut parent = self.modules[module].parent;
                while let (Some(at), Some((next, after))) = (parent, rest.split_first())
                    && next == "super"
                {
                    parent = self.modules[at].parent;
                    rest = after;
                }
                parent.map(Target::Module).into_iter().collect()
            }
            name => self.look_up(module, name, false, open),
        };
        for name in rest {
            // Before `::`, a name means the module: a function of the same name cannot be a path prefix.
            if targets.iter().any(|target| matches!(target, Target::Module(_))) {
                targets.retain(|target| matches!(target, Target::Module(_)));
            }
            let step = |target| match target {
                Target::Module(at) => self.look_up(at, name, true, open),
                // A variant or an associated item.
                Target::Item { .. } => BTreeSet::from([target]),
            };
            targets = targets.into_iter().flat_map(step).collect();
        }
        targets
    }

    /// The targets of a name in a module. A name can be a module, an item and an import at once.
    fn look_up(&self, at: usize, name: &str, is_qualified: bool, open: &mut Vec<(usize, String)>) -> BTreeSet<Target> {
        let module = &self.modules[at];
        let item = || Target::Item {
            file: module.file.clone(),
            name: name.to_owned(),
        };
        let mut found: BTreeSet<Target> = module.children.get(name).map(|child| Target::Module(*child)).into_iter().collect();
        if module.items.contains(name) {
            found.insert(item());
        }
        let key = (at, name.to_owned());
        if open.contains(&key) {
            return found;
        }
        open.push(key);
        let is_named = |import: &&Import| import.name.as_deref() == Some(name);
        let mut is_imported = false;
        for import in module.imports.iter().filter(is_named) {
            is_imported = true;
            found.extend(self.resolve(at, &import.path, open));
        }
        if found.is_empty() && !is_imported {
            for import in module.imports.iter().filter(|import| import.name.is_none()) {
                for target in self.resolve(at, &import.path, open) {
                    if let Target::Module(of) = target {
                        found.extend(self.look_up(of, name, is_qualified, open));
                    }
                }
            }
        }
        open.pop();
        // A derive or another macro defines it.
        if found.is_empty() && !is_imported && is_qualified {
            found.insert(item());
        }
        found
    }
}
