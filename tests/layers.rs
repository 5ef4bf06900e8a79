//! The file list is the architecture. A module uses only what is declared above it in `src/lib.rs`, no files import each other in a circle,
//! and no file is so long that it should be two.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

/// A file of more lines than `LINES`, of which more than `CODE` hold code, has to be split.
const LINES: usize = 400;
const CODE: usize = 330;

/// nginx finds a module's configuration by the address of its static, so what the static points to uses the static.
const SEEN_BY_ALL: &str = "ngx_http_poolwatch_module";

/// Beginnings of the names of files that still import each other in a circle.
const KNOWN_CIRCLES: [&str; 0] = [];
/// Beginnings of the names of files that are still too long.
const KNOWN_LONG_FILES: [&str; 0] = [];

#[test]
fn modules_use_only_what_is_declared_above_them() {
    let crate_ = Crate::of_this_package();
    assert!(crate_.order().len() > 10, "too few modules: {:?}", crate_.order());
    assert_eq!(crate_.uses_of_what_is_below(), [""; 0]);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let crate_ = Crate::of_this_package();
    assert!(crate_.imports().len() > 60, "too few files import something: {}", crate_.imports().len());
    let is_known =
        |circle: &Circle| KNOWN_CIRCLES.iter().any(|known| circle.files.iter().all(|file| file.starts_with(known)));
    let circles: Vec<_> = crate_.circles().into_iter().filter(|circle| !is_known(circle)).collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn no_file_is_too_long() {
    let crate_ = Crate::of_this_package();
    let long: Vec<_> = crate_
        .too_long()
        .into_iter()
        .filter(|file| !KNOWN_LONG_FILES.iter().any(|known| file.0.starts_with(known)))
        .collect();
    assert!(long.is_empty(), "more than {LINES} lines and more than {CODE} lines of code: {long:?}");
}

#[test]
fn a_use_of_something_below_is_found() {
    let lib = ("lib.rs", "mod units; mod rules; mod detect;");
    let rules = ("rules.rs", "use crate::{units::Millis, detect::failover as other}; fn f() { other::g() }");
    let detect = [("detect/mod.rs", "pub mod failover;"), ("detect/failover.rs", "use crate::rules::Rules;")];
    let crate_ = Crate::of(&[lib, ("units.rs", ""), rules, detect[0], detect[1]]);
    assert_eq!(crate_.uses_of_what_is_below(), ["rules.rs uses detect/failover.rs (g)"]);
}

#[test]
fn a_circle_is_found_however_the_paths_are_written() {
    for (one, two) in [
        ("use crate::two::Two;", "use crate::one::One;"),
        ("use super::{std::x, two::{Two as Other}};", "fn f() -> super::one::One {}"),
        ("use crate::two; fn f(it: two::Two) {}", "fn f() { g!(crate::one::One::new()) }"),
        ("use crate::two::*;", "impl From<crate::one::One> for Two {}"),
        ("use crate::two as other; fn f() { other::g::<u8>() }", "pub(crate) use crate::one::One; fn f(it: One) {}"),
    ] {
        let crate_ = Crate::of(&[("lib.rs", "mod one; mod two;"), ("one.rs", one), ("two.rs", two)]);
        assert_eq!(
            crate_.circles().iter().map(|circle| circle.files.join(" ")).collect::<Vec<_>>(),
            ["one.rs two.rs"],
            "{one} {two}"
        );
    }
}

#[test]
fn three_files_make_a_circle_and_their_neighbours_do_not() {
    let three = [
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c::C;"),
        ("c.rs", "use crate::{a::A, d::D};"),
        ("d.rs", ""),
    ];
    let files: Vec<_> = [("lib.rs", "mod a; mod b; mod c; mod d; mod e;"), ("e.rs", "use crate::a::A;")]
        .into_iter()
        .chain(three)
        .collect();
    let circles = Crate::of(&files).circles();
    assert_eq!(circles.len(), 1);
    assert_eq!(circles[0].files, ["a.rs", "b.rs", "c.rs"]);
    assert_eq!(circles[0].imports, ["a.rs uses b.rs (B)", "b.rs uses c.rs (C)", "c.rs uses a.rs (A)"]);
}

#[test]
fn a_parent_and_its_child_make_a_circle_only_if_both_use_the_other() {
    let circles = |parent: &str, child: &str| {
        let sibling = ("a/sibling.rs", "pub struct Sibling;");
        Crate::of(&[("lib.rs", "mod a;"), ("a/mod.rs", parent), ("a/child.rs", child), sibling]).circles().len()
    };
    let declares = "mod child; mod sibling;";
    assert_eq!(circles(&format!("{declares} fn f() {{ child::g() }} pub struct Own;"), "use super::Own;"), 1);
    assert_eq!(circles(&format!("{declares} use self::child::Child; pub struct Own;"), "fn f() -> super::Own {}"), 1);
    assert_eq!(circles(&format!("{declares} pub struct Own;"), "use super::Own;"), 0);
    // What the parent only hands on is its child's.
    assert_eq!(
        circles(&format!("{declares} pub use child::Child; pub use sibling::Sibling;"), "use super::Sibling;"),
        0
    );
    assert_eq!(
        circles(&format!("{declares} pub use child::Child; fn f() -> Child {{}} pub struct Own;"), "use super::Own;"),
        1
    );
}

#[test]
fn tests_comments_and_texts_import_nothing() {
    let one = "//! crate::two::Two\n/// [`crate::two::Two`]\nconst A: &str = \"crate::two::Two\";\n#[cfg(test)]\nmod tests { use crate::two::Two; }";
    let crate_ = Crate::of(&[
        ("lib.rs", "mod one; mod two;"),
        ("one.rs", one),
        ("two.rs", "use crate::one::One;\n#[cfg(test)] mod tests;"),
    ]);
    assert_eq!(crate_.imports().len(), 1, "{:?}", crate_.imports());
    assert_eq!(crate_.circles().len(), 0);
}

#[test]
fn a_long_file_is_found_by_its_code() {
    let too_long = |text: &str| Crate::of(&[("lib.rs", "mod a;"), ("a.rs", text)]).too_long();
    let code = |lines: usize| "const A: u8 = 1;\n".repeat(lines);
    assert_eq!(too_long(&(code(CODE + 1) + &"\n".repeat(LINES - CODE))), [("a.rs".to_owned(), LINES + 1, CODE + 1)]);
    assert_eq!(too_long(&code(LINES)), []);
    assert_eq!(too_long(&(code(CODE) + &"// why\n\n/// what\n".repeat(LINES) + "struct A;")).len(), 1);
    assert_eq!(too_long(&(code(CODE) + &"// why\n\n/// what\n".repeat(LINES))), []);
    assert_eq!(too_long(&(code(CODE) + "#[cfg(test)]\nmod tests {\n" + &code(LINES) + "}\n")), []);
}

/// The files of a crate by the path of their module, without what is compiled for tests only.
struct Crate {
    modules: BTreeMap<Vec<String>, File>,
}

struct File {
    /// Relative to `src`.
    name: String,
    lines: usize,
    code: usize,
    uses: Vec<Use>,
    /// The code without its `use` items.
    words: Vec<String>,
}

/// One name that a `use` item brings in.
struct Use {
    name: String,
    path: Vec<String>,
    public: bool,
}

/// Files that import each other, and the imports that make them do so.
#[derive(Debug)]
struct Circle {
    files: Vec<String>,
    imports: Vec<String>,
}

impl Crate {
    fn of_this_package() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        Self::read(&|name| fs::read_to_string(src.join(name)).ok())
    }

    fn of(files: &[(&str, &str)]) -> Self {
        Self::read(&|name| files.iter().find(|file| file.0 == name).map(|file| file.1.to_owned()))
    }

    /// Follows the declarations of modules, from `lib.rs` on.
    fn read(text_of: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut modules = BTreeMap::new();
        let mut left = vec![Vec::new()];
        while let Some(path) = left.pop() {
            let path: Vec<String> = path;
            let names = if path.is_empty() {
                vec!["lib.rs".to_owned()]
            } else {
                ["{}.rs", "{}/mod.rs"].map(|form| form.replace("{}", &path.join("/"))).to_vec()
            };
            let found = names.into_iter().find_map(|name| Some((text_of(&name)?, name)));
            let (text, name) = found.unwrap_or_else(|| panic!("no file of the module {}", path.join("::")));
            let file = File::read(name, &text);
            left.extend(file.declares().map(|child| [&path[..], &[child.to_owned()]].concat()));
            modules.insert(path, file);
        }
        Self { modules }
    }

    /// The modules in the order of their declaration.
    fn order(&self) -> Vec<&str> {
        self.modules[&Vec::new()].declares().collect()
    }

    fn uses_of_what_is_below(&self) -> Vec<String> {
        let order = self.order();
        let place = |module: &[String]| order.iter().position(|name| module.first().is_some_and(|first| first == name));
        let is_below = |(user, used): &Import<'_>| place(user).is_some() && place(used) > place(user);
        self.imports()
            .into_iter()
            .filter(|(files, _)| is_below(files))
            .map(|(files, name)| self.describe(files, &name))
            .collect()
    }

    fn describe(&self, (by, used): Import<'_>, name: &str) -> String {
        format!("{} uses {} ({name})", self.modules[by].name, self.modules[used].name)
    }

    /// Which module uses which other, and a name that it uses.
    fn imports(&self) -> BTreeMap<Import<'_>, String> {
        let mut imports = BTreeMap::new();
        for (module, file) in &self.modules {
            // What is only handed on is not used.
            let uses = file
                .uses
                .iter()
                .filter(|item| !item.public || file.words.contains(&item.name))
                .map(|item| item.path.clone());
            for path in uses.chain(file.paths()) {
                if let Some((used, name)) = self.definition(module, &path, 0) {
                    if used != &module[..] && name != SEEN_BY_ALL {
                        imports.insert((&module[..], used), name);
                    }
                }
            }
        }
        imports
    }

    /// The module that defines what `path` means in `module`, and its name there; nothing for another crate's, or for a module as such.
    fn definition(&self, module: &[String], path: &[String], depth: usize) -> Option<(&[String], String)> {
        assert!(depth < 20, "re-exports go round: {path:?} in {module:?}");
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            _ if self.modules.contains_key(&[module, &path[..1]].concat()) => {
                return self.definition(module, &[&["self".to_owned()], path].concat(), depth + 1);
            }
            name => {
                let item = self.modules[module]
                    .uses
                    .iter()
                    .find(|item| item.name == name && item.path.first().is_some_and(|first| first != name))?;
                return self.definition(module, &[&item.path, rest].concat(), depth + 1);
            }
        };
        let mut at = start;
        for (index, name) in rest.iter().enumerate() {
            if name == "super" {
                at.pop();
                continue;
            }
            let inner = [&at[..], &rest[index..=index]].concat();
            if self.modules.contains_key(&inner) {
                at = inner;
                continue;
            }
            let (home, file) = self.modules.get_key_value(&at)?;
            // The module only hands it on, or brought it in for its children.
            return match file.uses.iter().find(|item| item.name == *name) {
                Some(item) => self.definition(home, &[&item.path, &rest[index + 1..]].concat(), depth + 1),
                None => Some((home, name.clone())),
            };
        }
        None
    }

    /// The sets of files of which each imports each other one, directly or by others.
    fn circles(&self) -> Vec<Circle> {
        let imports = self.imports();
        let reached: BTreeMap<_, _> =
            self.modules.keys().map(|module| (&module[..], reachable(&imports, module))).collect();
        let members = |module: &[String]| {
            reached[module].iter().filter(|other| reached[*other].contains(module)).copied().collect()
        };
        let sets: BTreeSet<BTreeSet<&[String]>> = reached.keys().map(|module| members(module)).collect();
        let circle = |set: &BTreeSet<&[String]>| Circle {
            files: set.iter().map(|module| self.modules[*module].name.clone()).collect(),
            imports: imports
                .iter()
                .filter(|((user, used), _)| set.contains(user) && set.contains(used))
                .map(|(files, name)| self.describe(*files, name))
                .collect(),
        };
        sets.iter().filter(|set| !set.is_empty()).map(circle).collect()
    }

    fn too_long(&self) -> Vec<(String, usize, usize)> {
        let long = self.modules.values().filter(|file| file.lines > LINES && file.code > CODE);
        long.map(|file| (file.name.clone(), file.lines, file.code)).collect()
    }
}

/// The module that uses, and the one that it uses.
type Import<'a> = (&'a [String], &'a [String]);

/// What a module imports, directly or by others.
fn reachable<'a>(imports: &BTreeMap<Import<'a>, String>, module: &'a [String]) -> BTreeSet<&'a [String]> {
    let mut reached = BTreeSet::new();
    let mut left = vec![module];
    while let Some(at) = left.pop() {
        let next = imports.keys().filter(|(user, _)| *user == at).map(|(_, used)| *used);
        left.extend(next.filter(|used| reached.insert(*used)));
    }
    reached
}

impl File {
    fn read(name: String, text: &str) -> Self {
        let stream = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let (mut words, mut code) = (Vec::new(), BTreeSet::new());
        flatten(stream, &mut words, &mut code);
        let (mut uses, mut rest) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < words.len() {
            // `+ use<'a>` is a bound.
            if words[at] == "use" && words[at + 1] != "<" {
                let public = rest.last().is_some_and(|word| word == "pub")
                    || rest.len() >= 4 && rest[rest.len() - 4] == "pub" && rest[rest.len() - 3] == "(";
                at = parse_use(&words, at + 1, &[], public, &mut uses);
            } else {
                rest.push(words[at].clone());
            }
            at += 1;
        }
        Self { name, lines: text.lines().count(), code: code.len(), uses, words: rest }
    }

    /// The modules that it declares and that are files of their own.
    fn declares(&self) -> impl Iterator<Item = &str> {
        self.words.windows(3).filter(|words| words[0] == "mod" && words[2] == ";").map(|words| words[1].as_str())
    }

    /// The paths of more than one name in its code.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        let mut path = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            let follows = index > 0 && self.words[index - 1] == "::";
            if is_name(word) {
                if !follows {
                    path = Vec::new();
                }
                path.push(word.clone());
                if path.len() > 1 && self.words.get(index + 1).is_none_or(|next| next != "::") {
                    paths.push(path.clone());
                }
            } else if word != "::" {
                // `a::<b>` and `a::{` end a path too.
                if follows && path.len() > 1 {
                    paths.push(path.clone());
                }
                path = Vec::new();
            }
        }
        paths
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// Reads a tree of a `use` item from its word `at` on, and returns where it ends: at a `;`, `,` or `}`.
fn parse_use(words: &[String], mut at: usize, before: &[String], public: bool, uses: &mut Vec<Use>) -> usize {
    let mut path = before.to_vec();
    let mut name = None;
    loop {
        match words[at].as_str() {
            "{" => {
                while words[at] != "}" {
                    at = parse_use(words, at + 1, &path, public, uses);
                }
                return at + 1;
            }
            ";" | "," | "}" => break,
            "as" => {
                at += 1;
                name = Some(words[at].clone());
            }
            "::" => (),
            // `a::{self}` is a.
            "self" if !path.is_empty() => (),
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    if let Some(last) = path.last() {
        uses.push(Use { name: name.unwrap_or_else(|| last.clone()), path, public });
    }
    at
}

/// The words of the code, and the lines that hold any of it: without comments, documentation, and what is for tests only.
fn flatten(stream: TokenStream, words: &mut Vec<String>, code: &mut BTreeSet<usize>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        if is_punct(&tree, '#') {
            trees.next_if(|tree| is_punct(tree, '!'));
            if let Some(TokenTree::Group(attribute)) = trees.peek() {
                let text: String = attribute.stream().to_string().split_whitespace().collect();
                if text.starts_with("doc=") || text == "cfg(test)" {
                    trees.next();
                    if text == "cfg(test)" {
                        let is_end = |tree: &TokenTree| {
                            is_punct(tree, ';')
                                || matches!(tree, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
                        };
                        trees.by_ref().find(is_end);
                    }
                    continue;
                }
            }
        }
        let mut note = |span: Span| code.extend(span.start().line..=span.end().line);
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::None => ("", ""),
                };
                note(group.span_open());
                note(group.span_close());
                words.push(open.to_owned());
                flatten(group.stream(), words, code);
                words.push(close.to_owned());
            }
            TokenTree::Punct(punct)
                if punct.as_char() == ':' && trees.peek().is_some_and(|next| is_punct(next, ':')) =>
            {
                note(punct.span());
                trees.next();
                words.push("::".to_owned());
            }
            TokenTree::Literal(literal) => {
                note(literal.span());
                words.push("\"".to_owned());
            }
            other => {
                note(other.span());
                words.push(other.to_string());
            }
        }
    }
}

fn is_punct(tree: &TokenTree, letter: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == letter)
}
