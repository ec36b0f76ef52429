//! Parses the source files of a crate: modules, the names that they define and import, and the paths in their code.

use std::collections::{BTreeMap, BTreeSet};

use syn::{
    Attribute, ImplItem, Item, ItemMod, ItemUse, Lit, Macro, Meta, Path, UseTree, Visibility,
    buffer::{Cursor, TokenBuffer},
    punctuated::Punctuated,
    visit::{self, Visit},
};

use super::import_graph::Sources;

/// A module: a file, or `mod name { … }` within a file.
#[derive(Debug, Default)]
pub struct Module {
    pub file: String,
    /// The folder of child modules, with a trailing slash unless it is empty.
    folder: String,
    pub parent: Option<usize>,
    pub children: BTreeMap<String, usize>,
    pub items: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// Paths in code, including those in functions. Local names in them resolve to nothing.
    pub paths: BTreeSet<Vec<String>>,
}

/// A name in a `use` declaration.
#[derive(Debug)]
pub struct Import {
    /// `None` imports all names of the module at `path`.
    pub name: Option<String>,
    pub path: Vec<String>,
    pub is_reexport: bool,
}

/// The modules that are reachable from `root`, which is the first one.
///
/// # Panics
/// Panics if a file is missing or cannot be parsed.
pub fn parse(sources: &Sources, root: &str) -> Vec<Module> {
    let mut reader = Reader {
        sources,
        modules: vec![Module {
            file: root.to_owned(),
            ..Module::default()
        }],
        current: 0,
    };
    reader.read(root);
    reader.modules
}

/// Visits the syntax trees of all files, and adds what it finds to the current module.
struct Reader<'a> {
    sources: &'a Sources,
    modules: Vec<Module>,
    current: usize,
}

impl Reader<'_> {
    fn module(&mut self) -> &mut Module {
        &mut self.modules[self.current]
    }

    fn read(&mut self, file: &str) {
        let text = self.sources.get(file).unwrap_or_else(|| panic!("{file} is missing"));
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{file} must be Rust: {error}"));
        self.visit_file(&syntax);
    }

    fn add_tree(&mut self, tree: &UseTree, prefix: &[String], is_reexport: bool) {
        let joined = |name: &syn::Ident| {
            // `use module::{self}` names the module itself.
            let is_self = name == "self" && !prefix.is_empty();
            let last = (!is_self).then(|| name.to_string());
            prefix.iter().cloned().chain(last).collect::<Vec<_>>()
        };
        let (name, path) = match tree {
            UseTree::Path(path) => return self.add_tree(&path.tree, &joined(&path.ident), is_reexport),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.add_tree(tree, prefix, is_reexport)),
            UseTree::Name(name) => {
                let path = joined(&name.ident);
                (path.last().cloned(), path)
            }
            UseTree::Rename(rename) => (Some(rename.rename.to_string()), joined(&rename.ident)),
            UseTree::Glob(_) => (None, prefix.to_vec()),
        };
        self.module().imports.push(Import { name, path, is_reexport });
    }

    /// Adds the paths among the tokens of a macro call or an attribute. Strings can be paths in attributes only.
    fn add_tokens(&mut self, mut cursor: Cursor<'_>, in_attribute: bool) {
        let mut after_dot = false;
        while !cursor.eof() {
            let was_after_dot = std::mem::take(&mut after_dot);
            if let Some((ident, mut next)) = cursor.ident() {
                let mut path = vec![ident.to_string()];
                while let Some((ident, after)) = separator(next).and_then(Cursor::ident) {
                    path.push(ident.to_string());
                    next = after;
                }
                // `.name` is a field or a method.
                if path.len() > 1 || !was_after_dot {
                    self.module().paths.insert(path);
                }
                cursor = next;
            } else if let Some(after) = separator(cursor) {
                // The rest of a path whose beginning was added, as in `Type::<T>::new`.
                cursor = after.ident().map_or(after, |(_, next)| next);
            } else if let Some((inside, _, _, next)) = cursor.any_group() {
                self.add_tokens(inside, in_attribute);
                cursor = next;
            } else if let Some((punct, next)) = cursor.punct() {
                after_dot = punct.as_char() == '.';
                cursor = next;
            } else if let Some((literal, next)) = cursor.literal() {
                if in_attribute {
                    self.add_text(&Lit::new(literal));
                }
                cursor = next;
            } else if let Some((_, next)) = cursor.lifetime() {
                cursor = next;
            } else {
                panic!("{}: a token of an unknown kind", self.module().file);
            }
        }
    }

    /// Adds a path in a string, as in `#[serde(with = "crate::time::micros")]`.
    fn add_text(&mut self, literal: &Lit) {
        if let Lit::Str(text) = literal
            && text.value().contains("::")
            && let Ok(path) = text.parse::<Path>()
        {
            self.add_path(&path);
        }
    }

    fn add_path(&mut self, path: &Path) {
        // `::name` is a crate.
        if path.leading_colon.is_none() {
            let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.module().paths.insert(names);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test_only(attributes(item)) {
            return;
        }
        if let Some(name) = defined_name(item) {
            self.module().items.insert(name);
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let is_left_out = matches!(item, ImplItem::Fn(function) if is_test_only(&function.attrs));
        if !is_left_out {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = item.ident.to_string();
        let has_path = item.attrs.iter().any(|attribute| attribute.path().is_ident("path"));
        assert!(!has_path, "{}: #[path] is not supported", self.module().file);
        let parent = self.current;
        let folder = format!("{}{name}", self.module().folder);
        let file = match &item.content {
            Some(_) => self.module().file.clone(),
            None => [format!("{folder}.rs"), format!("{folder}/mod.rs")]
                .into_iter()
                .find(|file| self.sources.contains_key(file))
                .unwrap_or_else(|| panic!("{folder}.rs is missing")),
        };
        self.current = self.modules.len();
        self.modules.push(Module {
            file: file.clone(),
            folder: format!("{folder}/"),
            parent: Some(parent),
            ..Module::default()
        });
        match &item.content {
            Some(_) => visit::visit_item_mod(self, item),
            None => self.read(&file),
        }
        let child = std::mem::replace(&mut self.current, parent);
        self.module().children.insert(name, child);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.add_tree(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        self.add_path(path);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.add_path(&call.path);
        self.add_tokens(TokenBuffer::new2(call.tokens.clone()).begin(), false);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.add_tokens(TokenBuffer::new2(list.tokens.clone()).begin(), true);
        }
    }
}

/// The cursor after `::`.
fn separator(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, next) = cursor.punct()?;
    let (second, next) = next.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(next)
}

/// Whether an item exists in tests only: `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn is_test_only(attributes: &[Attribute]) -> bool {
    let requires_test = |meta: &Meta| match meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(|meta| meta.path().is_ident("test"))),
        _ => false,
    };
    let configurations = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    configurations
        .filter_map(|attribute| attribute.parse_args::<Meta>().ok())
        .any(|meta| requires_test(&meta))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item adds to its module. Modules and imports are handled elsewhere.
fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
