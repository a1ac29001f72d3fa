//! Server blocks of a Corefile, as `caddyfile/parse.go` of coredns/caddy 1.1.4 groups them.
//!
//! Enters: text and an [`Env`]; leaves: [`Block`]s: keys, and tokens per directive name after expansion of
//! variables, snippets and imports. Deliberately absent: file access (the caller resolves imports) and plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diagnostic::{CorefileError, ErrorKind};
use super::lexer::{Token, lex, starts_line};

/// Longest text read, octets: an etcd object holds at most 1.5 MiB.
pub const MAX_TEXT: usize = 4 << 20;
/// Most tokens after expansion; snippets can grow a text exponentially.
const MAX_TOKENS: usize = 1 << 20;
/// Most snippet expansions (`maxSnippetExpansions` of the original).
const MAX_SNIPPETS: u32 = 10_000;
/// Most file expansions. The original allows 100,000; a real configuration has a handful.
const MAX_FILES: u32 = 10_000;

/// A file given for an `import`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedFile {
    /// Absolute path, as it will stand in tokens and in the running hash.
    pub path: String,
    /// Content.
    pub text: String,
}

/// Gives the files that a pattern names, in name order. The second argument is the importing file, `None` for the
/// Corefile itself: a relative pattern is relative to that file's folder.
pub type Resolver<'a> = dyn Fn(&str, Option<&str>) -> Vec<ImportedFile> + 'a;

/// What surrounds a Corefile: variables of the process and files next to it.
#[derive(Clone, Default)]
pub struct Env<'a> {
    /// Environment variables of the CoreDNS process. An absent one expands to nothing, and is reported.
    pub variables: BTreeMap<String, String>,
    /// Resolver of file imports. Without one, file imports give nothing and are reported as unresolved.
    pub files: Option<&'a Resolver<'a>>,
}

/// A server block before plugins are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Keys, variables expanded, commas cut off.
    pub keys: Vec<Token>,
    /// Tokens per directive name, occurrences in file order, as plugin setup sees them.
    pub tokens: BTreeMap<String, Vec<Token>>,
    /// Occurrences in file order: directive name and the range of its tokens in `tokens`.
    pub order: Vec<(String, std::ops::Range<usize>)>,
}

/// All blocks of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Blocks in file order.
    pub blocks: Vec<Block>,
    /// Variables that the text uses and the [`Env`] does not hold: values and hash may differ from the process's.
    pub unknown_variables: BTreeSet<String>,
    /// Imports of files that nobody could give.
    pub unresolved_imports: Vec<Token>,
    /// Imports that were followed: the `import` argument and how many tokens it gave.
    pub imports: Vec<(Token, usize)>,
}

/// Groups the tokens of `text` by server block.
///
/// # Errors
/// The first [`CorefileError`] of kind `Syntax`, `Import` or `Bound`; the original stops at the first as well.
pub fn parse_blocks(text: &str, env: &Env<'_>) -> Result<Blocks, CorefileError> {
    if text.len() > MAX_TEXT {
        let message = format!("the text has {} octets, more than {MAX_TEXT}", text.len());
        return Err(CorefileError::nowhere(ErrorKind::Bound, message, "give the Corefile alone"));
    }
    let mut parser = Parser {
        env,
        read: Vec::new(),
        ahead: lex(text, None).into_iter().rev().collect(),
        beyond: false,
        block: None,
        snippets: BTreeMap::new(),
        expansions: (0, 0),
        imported: 0,
        out: Blocks::default(),
    };
    parser.parse_all()?;
    Ok(parser.out)
}

/// A cursor over tokens that imports may replace. The current token is the last of `read`.
struct Parser<'e, 'f> {
    env: &'e Env<'f>,
    read: Vec<Token>,
    // Reversed: the next token is the last.
    ahead: Vec<Token>,
    // An import at the very end gave nothing: there is no current token, though `read` may hold some.
    beyond: bool,
    block: Option<Block>,
    snippets: BTreeMap<String, Vec<Token>>,
    // Snippet and file expansions so far.
    expansions: (u32, u32),
    imported: usize,
    out: Blocks,
}

type Outcome<T = ()> = Result<T, CorefileError>;

impl Parser<'_, '_> {
    fn current(&self) -> Option<&Token> {
        if self.beyond { None } else { self.read.last() }
    }

    fn text(&self) -> Arc<str> {
        self.current().map_or_else(|| Arc::from(""), |token| token.text.clone())
    }

    fn advance(&mut self) -> bool {
        match self.ahead.pop() {
            Some(token) => {
                self.read.push(token);
                true
            }
            None => false,
        }
    }

    fn retreat(&mut self) {
        if self.beyond {
            self.beyond = false;
        } else if let Some(token) = self.read.pop() {
            self.ahead.push(token);
        }
    }

    /// True if the current token starts a line (or is the first of all).
    fn on_new_line(&self) -> bool {
        match self.read.as_slice() {
            _ if self.beyond => false,
            [.., previous, current] => starts_line(previous, current),
            _ => true,
        }
    }

    fn advance_on_line(&mut self) -> bool {
        let same = match (self.read.last(), self.ahead.last()) {
            (Some(current), Some(next)) => super::lexer::same_line(current, next),
            (None, Some(_)) => true,
            _ => false,
        };
        same && self.advance()
    }

    fn fail(
        &self,
        kind: ErrorKind,
        message: impl Into<String>,
        next_step: impl Into<String>,
    ) -> CorefileError {
        match self.current().or(self.read.last()) {
            Some(token) => CorefileError::at(token, kind, message, next_step),
            None => CorefileError::nowhere(kind, message, next_step),
        }
    }

    fn syntax(&self, message: impl Into<String>, next_step: impl Into<String>) -> CorefileError {
        self.fail(ErrorKind::Syntax, message, next_step)
    }

    fn expected(&self, what: &str) -> CorefileError {
        let message = format!("unexpected token '{}', expected '{what}'", self.text());
        self.syntax(message, format!("put '{what}' here or remove what stands in its place"))
    }

    fn at_end(&self) -> CorefileError {
        self.syntax("the text ends inside a block or a list of addresses", "add what is missing, often '}'")
    }

    fn expand(&mut self, text: &str) -> String {
        expand_variables(text, &self.env.variables, &mut self.out.unknown_variables)
    }

    fn parse_all(&mut self) -> Outcome {
        while self.advance() {
            self.block = Some(Block { keys: Vec::new(), tokens: BTreeMap::new(), order: Vec::new() });
            self.parse_one()?;
            if let Some(block) = self.block.take()
                && !block.keys.is_empty()
            {
                self.out.blocks.push(block);
            }
        }
        Ok(())
    }

    fn parse_one(&mut self) -> Outcome {
        let ended = self.addresses()?;
        if ended {
            return Ok(());
        }
        let keys = self.block.as_ref().map(|block| block.keys.as_slice()).unwrap_or_default();
        if let [only] = keys
            && let Some(name) = snippet_name(&only.text)
        {
            let name = name.to_owned();
            self.define_snippet(name)?;
            self.block = None;
            return Ok(());
        }
        self.block_contents()
    }

    /// Reads the keys of a block; true if the text ended there.
    fn addresses(&mut self) -> Outcome<bool> {
        let mut more = false;
        loop {
            let raw = self.text();
            let mut text = self.expand(&raw);
            if text == "import" && self.on_new_line() {
                self.import()?;
                continue;
            }
            if text == "{" {
                if more {
                    let message = "an address is missing after the last comma";
                    return Err(self.syntax(message, "remove the comma or add the address"));
                }
                return Ok(false);
            }
            if !text.is_empty() {
                more = text.ends_with(',');
                if more {
                    text.pop();
                }
                if let (Some(token), Some(block)) = (self.read.last().cloned(), self.block.as_mut()) {
                    block.keys.push(Token { text: Arc::from(text), ..token });
                }
            }
            if !self.advance() {
                return if more { Err(self.at_end()) } else { Ok(true) };
            }
            if !more && self.on_new_line() {
                return Ok(false);
            }
        }
    }

    fn block_contents(&mut self) -> Outcome {
        let braces = &*self.text() == "{";
        if !braces {
            // A single server needs no braces: the current token is its first directive.
            self.retreat();
        }
        self.directives()?;
        if braces && &*self.text() != "}" {
            return Err(self.expected("}"));
        }
        Ok(())
    }

    fn directives(&mut self) -> Outcome {
        while self.advance() {
            match &*self.text() {
                "}" => break,
                "import" => {
                    self.import()?;
                    self.retreat();
                }
                _ => self.directive()?,
            }
        }
        Ok(())
    }

    fn directive(&mut self) -> Outcome {
        let Some(first) = self.current().cloned() else { return Ok(()) };
        let name = self.expand(&first.text);
        // The original expands variables in the grouping key but not in the directive's own token.
        let mut tokens = vec![first];
        let mut nesting = 0usize;
        while self.advance() {
            let text = self.text();
            if &*text == "{" {
                nesting += 1;
            } else if nesting == 0 && self.on_new_line() {
                self.retreat();
                break;
            } else if &*text == "}" {
                if nesting == 0 {
                    let message = "unexpected '}': no brace is open";
                    return Err(self.syntax(message, "remove it or start a new line before it"));
                }
                nesting -= 1;
            } else if &*text == "import" && self.on_new_line() {
                self.import()?;
                self.retreat();
                continue;
            }
            let text = self.expand(&text);
            if let Some(current) = self.read.last_mut() {
                // The original overwrites the token in place: later line comparisons see the new text.
                if *current.text != *text {
                    current.text = Arc::from(text);
                }
                tokens.push(current.clone());
            }
        }
        if nesting > 0 {
            return Err(self.at_end());
        }
        if let Some(block) = self.block.as_mut() {
            let all = block.tokens.entry(name.clone()).or_default();
            let start = all.len();
            all.append(&mut tokens);
            block.order.push((name, start..all.len()));
        }
        Ok(())
    }

    fn define_snippet(&mut self, name: String) -> Outcome {
        if self.snippets.contains_key(&name) {
            let message = format!("the snippet ({name}) is defined twice");
            return Err(self.syntax(message, "rename or remove one"));
        }
        if &*self.text() != "{" {
            return Err(self.expected("{"));
        }
        let mut open = 1usize;
        let mut tokens = Vec::new();
        while self.advance() {
            match &*self.text() {
                "}" => open -= 1,
                "{" => open += 1,
                _ => {}
            }
            if open == 0 {
                break;
            }
            tokens.extend(self.current().cloned());
        }
        if open > 0 {
            return Err(self.expected("}"));
        }
        self.refuse_self_import(&name, &tokens)?;
        self.snippets.insert(name, tokens);
        Ok(())
    }

    fn refuse_self_import(&mut self, name: &str, tokens: &[Token]) -> Outcome {
        for (at, pair) in tokens.windows(2).enumerate() {
            let starts =
                at == 0 || tokens[at - 1].file != tokens[at].file || tokens[at - 1].line != tokens[at].line;
            if &*pair[0].text == "import" && starts && self.expand(&pair[1].text) == name {
                let message = format!("the snippet ({name}) imports itself");
                return Err(CorefileError::at(&pair[0], ErrorKind::Import, message, "remove that import"));
            }
        }
        Ok(())
    }

    /// Replaces `import ARG` by what it names; afterwards the current token is the first imported one.
    fn import(&mut self) -> Outcome {
        if !self.advance_on_line() {
            let message = "import needs the name of a snippet or a file";
            return Err(self.fail(ErrorKind::Import, message, "add the name on the same line"));
        }
        let raw = self.text();
        let pattern = self.expand(&raw);
        if pattern.is_empty() {
            let message = "import has an empty argument";
            return Err(self.fail(ErrorKind::Import, message, "name a snippet or a file"));
        }
        if self.advance_on_line() {
            let message = "import takes one argument";
            return Err(self.fail(ErrorKind::Import, message, "use one import per snippet or file"));
        }
        let Some(argument) = self.read.pop() else { return Ok(()) };
        self.read.pop();
        let found = self.imported_tokens(&pattern, &argument)?;
        self.imported = self.imported.saturating_add(found.len());
        if self.imported > MAX_TOKENS {
            let message = format!("imports grow the text beyond {MAX_TOKENS} tokens");
            return Err(CorefileError::at(&argument, ErrorKind::Bound, message, "import less"));
        }
        self.out.imports.push((argument, found.len()));
        self.ahead.extend(found.into_iter().rev());
        self.beyond = !self.advance();
        Ok(())
    }

    fn imported_tokens(&mut self, pattern: &str, argument: &Token) -> Outcome<Vec<Token>> {
        if let Some(tokens) = self.snippets.get(pattern) {
            self.expansions.0 += 1;
            if self.expansions.0 > MAX_SNIPPETS {
                let message = format!("more than {MAX_SNIPPETS} snippet imports: a cycle");
                return Err(CorefileError::at(argument, ErrorKind::Import, message, "break the cycle"));
            }
            return Ok(tokens.clone());
        }
        self.expansions.1 += 1;
        if self.expansions.1 > MAX_FILES {
            let message = format!("more than {MAX_FILES} file imports: a cycle");
            return Err(CorefileError::at(argument, ErrorKind::Import, message, "break the cycle"));
        }
        let count = |wild: char| pattern.matches(wild).count();
        if count('*') > 1 || count('?') > 1 || (pattern.contains('[') && pattern.contains(']')) {
            let message = format!("the pattern {pattern} has more than one wildcard");
            return Err(CorefileError::at(argument, ErrorKind::Import, message, "use one '*'"));
        }
        let Some(files) = self.env.files else {
            self.out.unresolved_imports.push(argument.clone());
            return Ok(Vec::new());
        };
        let found = files(pattern, argument.file.as_deref());
        if found.is_empty() && !pattern.contains(['*', '?', '[', ']']) {
            let message = format!("no snippet and no file is called {pattern}");
            return Err(CorefileError::at(
                argument,
                ErrorKind::Import,
                message,
                "define it or give the file",
            ));
        }
        self.lex_files(&found, argument)
    }

    fn lex_files(&self, files: &[ImportedFile], argument: &Token) -> Outcome<Vec<Token>> {
        let mut tokens = Vec::new();
        for file in files {
            if file.text.len() > MAX_TEXT {
                let message = format!("{} has more than {MAX_TEXT} octets", file.path);
                return Err(CorefileError::at(argument, ErrorKind::Bound, message, "import a smaller file"));
            }
            tokens.extend(lex(&file.text, Some(&Arc::from(file.path.as_str()))));
        }
        Ok(tokens)
    }
}

fn snippet_name(key: &str) -> Option<&str> {
    // `(` alone has the prefix and not the suffix; `()` names the empty snippet.
    key.strip_prefix('(')?.strip_suffix(')')
}

/// Expands `{%VAR%}` and then `{$VAR}`, as the original does; absent variables become nothing and are noted.
fn expand_variables(
    text: &str,
    variables: &BTreeMap<String, String>,
    unknown: &mut BTreeSet<String>,
) -> String {
    let windows = expand_form(text, "{%", "%}", variables, unknown);
    expand_form(&windows, "{$", "}", variables, unknown)
}

fn expand_form(
    text: &str,
    open: &str,
    close: &str,
    variables: &BTreeMap<String, String>,
    unknown: &mut BTreeSet<String>,
) -> String {
    let mut text = text.to_owned();
    // A value may hold a reference again (`A={$A}`): the original would never end. Bound the rounds and the size.
    for _ in 0..1_000 {
        let Some(start) = text.find(open) else { break };
        let Some(end) = text[start..].find(close).map(|at| at + start) else { break };
        if end <= start + open.len() {
            break;
        }
        let reference = text[start..end + close.len()].to_owned();
        let name = &reference[open.len()..reference.len() - close.len()];
        let value = variables.get(name).map_or("", String::as_str);
        if !variables.contains_key(name) {
            unknown.insert(name.to_owned());
        }
        text = text.replace(&reference, value);
        if text.len() > MAX_TEXT {
            break;
        }
    }
    text
}
