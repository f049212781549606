//! As much JSON as frames need: no crate has to be downloaded for it.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    /// The value of a text, if it is JSON; nothing may follow.
    pub fn read(text: &str) -> Option<Json> {
        let mut letters = text.chars().peekable();
        let value = value(&mut letters)?;
        skip(&mut letters);
        letters.next().is_none().then_some(value)
    }

    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Map(pairs) => pairs.iter().find(|pair| pair.0 == name).map(|pair| &pair.1),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Json::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn list(&self) -> &[Json] {
        match self {
            Json::List(items) => items,
            _ => &[],
        }
    }
}

/// A text in quotation marks.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", letter as u32)),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

type Letters<'a> = Peekable<Chars<'a>>;

fn skip(letters: &mut Letters) {
    while letters
        .next_if(|letter| " \t\r\n".contains(*letter))
        .is_some()
    {}
}

fn expect(letters: &mut Letters, text: &str) -> Option<()> {
    text.chars()
        .all(|letter| letters.next() == Some(letter))
        .then_some(())
}

fn value(letters: &mut Letters) -> Option<Json> {
    skip(letters);
    match letters.peek()? {
        'n' => expect(letters, "null").map(|()| Json::Null),
        't' => expect(letters, "true").map(|()| Json::Bool(true)),
        'f' => expect(letters, "false").map(|()| Json::Bool(false)),
        '"' => string(letters).map(Json::Text),
        '[' => items(letters, ']', value).map(Json::List),
        '{' => items(letters, '}', pair).map(Json::Map),
        _ => number(letters).map(Json::Number),
    }
}

fn items<T>(
    letters: &mut Letters,
    end: char,
    item: fn(&mut Letters) -> Option<T>,
) -> Option<Vec<T>> {
    letters.next();
    let mut found = Vec::new();
    skip(letters);
    if letters.next_if_eq(&end).is_some() {
        return Some(found);
    }
    loop {
        found.push(item(letters)?);
        skip(letters);
        match letters.next()? {
            ',' => {}
            letter if letter == end => return Some(found),
            _ => return None,
        }
    }
}

fn pair(letters: &mut Letters) -> Option<(String, Json)> {
    skip(letters);
    let name = string(letters)?;
    skip(letters);
    expect(letters, ":")?;
    Some((name, value(letters)?))
}

fn number(letters: &mut Letters) -> Option<f64> {
    let mut text = String::new();
    while let Some(letter) = letters.next_if(|one| one.is_ascii_digit() || "+-.eE".contains(*one)) {
        text.push(letter);
    }
    text.parse().ok()
}

fn string(letters: &mut Letters) -> Option<String> {
    expect(letters, "\"")?;
    let mut text = String::new();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(escaped(letters)?),
            letter => text.push(letter),
        }
    }
}

fn escaped(letters: &mut Letters) -> Option<char> {
    Some(match letters.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let first = unit(letters)?;
            if !(0xd800..0xdc00).contains(&first) {
                return char::from_u32(first);
            }
            expect(letters, "\\u")?;
            let second = unit(letters)?.checked_sub(0xdc00)?;
            return char::from_u32(0x10000 + ((first - 0xd800) << 10) + second);
        }
        letter => letter,
    })
}

fn unit(letters: &mut Letters) -> Option<u32> {
    (0..4).try_fold(0, |so_far, _| {
        Some(so_far * 16 + letters.next()?.to_digit(16)?)
    })
}
