//! Characters as tokens.

use serde_json::Value;

use super::{damaged, visible};
use crate::{Error, Result};

/// Code points in a page of [`CharTable`].
const PAGE: usize = 256;
/// Pages that cover all code points.
const PAGES: usize = (char::MAX as usize + 1) / PAGE;
const ABSENT: u32 = u32::MAX;

/// Ids by code point in two steps: the page, then the place in the page. Page 0 is the empty one.
#[derive(PartialEq, Eq)]
pub(super) struct CharTable {
    pub(super) chars: Vec<char>,
    utf8: Vec<[u8; 4]>,
    page_of: Vec<u16>,
    pages: Vec<[u32; PAGE]>,
}

impl CharTable {
    pub(super) fn new() -> Self {
        Self {
            chars: Vec::new(),
            utf8: Vec::new(),
            page_of: vec![0; PAGES],
            pages: vec![[ABSENT; PAGE]],
        }
    }

    /// Adds a symbol; `false` where it was there before.
    pub(super) fn insert(&mut self, symbol: char) -> bool {
        let code = symbol as usize;
        let page = &mut self.page_of[code / PAGE];
        if *page == 0 {
            *page = self.pages.len() as u16; // at most PAGES = 4352
            self.pages.push([ABSENT; PAGE]);
        }
        let slot = &mut self.pages[usize::from(*page)][code % PAGE];
        if *slot != ABSENT {
            return false;
        }
        *slot = self.chars.len() as u32; // at most 1,112,064 scalar values
        self.chars.push(symbol);
        let mut bytes = [0; 4];
        symbol.encode_utf8(&mut bytes);
        self.utf8.push(bytes);
        true
    }

    #[inline]
    pub(super) fn id(&self, symbol: char) -> Option<u32> {
        let code = symbol as usize;
        let page = usize::from(self.page_of[code / PAGE]);
        let id = self.pages[page][code % PAGE];
        (id != ABSENT).then_some(id)
    }

    pub(super) fn char(&self, id: u32) -> char {
        self.chars[id as usize]
    }

    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        &self.utf8[id as usize][..self.char(id).len_utf8()]
    }

    pub(super) fn from_json(tokens: &[Value]) -> Result<Self> {
        if tokens.is_empty() {
            return Err(damaged("it has no tokens".into()));
        }
        let mut table = Self::new();
        for (id, token) in tokens.iter().enumerate() {
            let token = token
                .as_str()
                .ok_or_else(|| damaged(format!("token {id} is not a string")))?;
            let mut chars = token.chars();
            let (Some(symbol), None) = (chars.next(), chars.next()) else {
                let count = token.chars().count();
                return Err(damaged(format!(
                    "token {id} has {count} characters, expected 1"
                )));
            };
            // Being all different also bounds their number by that of the code points.
            if !table.insert(symbol) {
                return Err(damaged(format!(
                    "token {id}, `{}`, stands there twice",
                    visible(symbol)
                )));
            }
        }
        Ok(table)
    }
}

pub(super) fn unknown_symbol(table: &CharTable, symbol: char) -> Error {
    let near = near_symbols(table, symbol);
    let near: Vec<String> = near.iter().map(|&c| format!("`{}`", visible(c))).collect();
    let of = match table.chars.len() {
        1 => "of its one symbol".to_owned(),
        n => format!("of its {n} symbols"),
    };
    Error::UnknownSymbol {
        symbol: format!("`{}` (U+{:04X})", visible(symbol), symbol as u32),
        hint: format!(
            "the nearest {of}: {}; `--on-unknown skip` leaves unknown symbols out",
            near.join(" ")
        ),
    }
}

/// What a user may have meant: other case, plain form of a typographic sign; else the nearest code points.
fn near_symbols(table: &CharTable, symbol: char) -> Vec<char> {
    let plain: &[char] = match symbol {
        '\u{2018}' | '\u{2019}' | '\u{201A}' | '\u{2032}' | '`' => &['\''],
        '\u{201C}' | '\u{201D}' | '\u{201E}' | '\u{2033}' | '\u{AB}' | '\u{BB}' => &['"', '\''],
        '\u{2010}'..='\u{2015}' | '\u{2212}' => &['-'],
        '\u{2026}' => &['.'],
        '\t' | '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{3000}' => &[' '],
        '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => &['\n'],
        '\'' => &['\u{2019}'],
        '"' => &['\u{201D}', '\u{201C}'],
        '-' => &['\u{2013}', '\u{2014}'],
        _ => &[],
    };
    let mut near: Vec<char> = symbol
        .to_lowercase()
        .chain(symbol.to_uppercase())
        .chain(plain.iter().copied())
        .filter(|&c| table.id(c).is_some())
        .collect();
    if near.is_empty() {
        near.clone_from(&table.chars);
        near.sort_unstable_by_key(|&c| ((c as u32).abs_diff(symbol as u32), c));
        near.truncate(3);
    }
    near.dedup();
    near
}
