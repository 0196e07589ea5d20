//! Keys in, text out.

use super::editor::{Editor, Mode, Request};
use super::text::Text;
use crate::terminal::keys::tests::keys_typed as keys;

/// Type into an editor that holds `text`; gives the text, and the cursor as line:column from 0.
fn typed(text: &str, typed: &str) -> (String, String) {
    let editor = after(text, typed);
    (editor.text.lines().join("\n"), format!("{}:{}", editor.cursor.line, editor.cursor.column))
}

fn after(text: &str, typed: &str) -> Editor {
    let mut editor = Editor::new(Text::new(text.split('\n').map(str::to_owned).collect()));
    let mut request = None;
    for key in keys(typed.as_bytes()) {
        request = editor.key(key).or(request);
    }
    assert_eq!(request, None, "{typed:?}");
    editor
}

#[track_caller]
fn check(cases: &[(&str, &str, &str, &str)]) {
    for (text, keys, result, cursor) in cases {
        assert_eq!(typed(text, keys), ((*result).to_owned(), (*cursor).to_owned()), "{text:?} {keys:?}");
    }
}

#[test]
fn moving() {
    check(&[
        ("abc\ndef", "l", "abc\ndef", "0:1"),
        ("abc\ndef", "9l", "abc\ndef", "0:2"),
        ("abc\ndef", "$j", "abc\ndef", "1:2"),
        ("abcdef\nx\nabcdef", "$jj", "abcdef\nx\nabcdef", "2:5"),
        ("abcdef\nx\nabcdef", "4ljj", "abcdef\nx\nabcdef", "2:4"),
        ("a b c", "2wb", "a b c", "0:2"),
        ("  ab", "$0^", "  ab", "0:2"),
        ("1\n2\n3", "Gk", "1\n2\n3", "1:0"),
        ("1\n2\n3", "2Ggg", "1\n2\n3", "0:0"),
        ("a,b,c", "f,;,", "a,b,c", "0:1"),
        ("a,b,c,", "t,;", "a,b,c,", "0:2"),
        ("foo\nbar foo\nfoo", "/foo\rn", "foo\nbar foo\nfoo", "2:0"),
        ("foo\nbar foo\nfoo", "?foo\r", "foo\nbar foo\nfoo", "2:0"),
        ("foo\nbar foo\nfoo", "?foo\rN", "foo\nbar foo\nfoo", "0:0"),
        ("ab\nab b\nab", "w*", "ab\nab b\nab", "2:0"),
        ("1\n2\n3", "majj'a", "1\n2\n3", "0:0"),
        ("1\n2\n3", "G''", "1\n2\n3", "0:0"),
        ("(a)", "%", "(a)", "0:2"),
        ("a\n\nb\n\nc", "}}{", "a\n\nb\n\nc", "1:0"),
        ("ab\x1b", "\x1b[C\x1b[D\x1b[C", "ab\x1b", "0:1"),
    ]);
}

#[test]
fn typing() {
    check(&[
        ("", "ihello\x1b", "hello", "0:4"),
        ("b", "ia\x1bac\x1b", "acb", "0:1"),
        ("b", "aüö\x1b", "büö", "0:2"),
        ("  b", "Ia\x1bAc\x1b", "  abc", "0:4"),
        ("a\nc", "ob\x1b", "a\nb\nc", "1:0"),
        ("b", "Oa\x1b", "a\nb", "0:0"),
        ("ab", "li\r\x1b", "a\nb", "1:0"),
        ("", "3ix\x1b", "xxx", "0:2"),
        ("", "ia b\x7f\x7fc\x1b", "ac", "0:1"),
        ("a\nb", "ji\x7f\x1b", "ab", "0:0"),
        ("", "ifoo bar\x17x\x1b", "foo x", "0:4"),
        ("", "ifoo\x15x\x1b", "x", "0:0"),
        ("", "i\x16\x01\x1b", "\x01", "0:0"),
        ("abc", "Rxy\x1b", "xyc", "0:1"),
        ("a", "Rxyz\x1b", "xyz", "0:2"),
        ("\ta", ":set ai\rob\x1b", "\ta\n\tb", "1:1"),
        ("ab", "i\x1b[C\x1b[CX\x1b", "abX", "0:2"),
    ]);
}

#[test]
fn changing() {
    check(&[
        ("abc", "x", "bc", "0:0"),
        ("abc", "$x", "ab", "0:1"),
        ("abc", "2x", "c", "0:0"),
        ("abc", "9x", "", "0:0"),
        ("", "x", "", "0:0"),
        ("abc", "$X", "ac", "0:1"),
        ("foo bar baz", "dw", "bar baz", "0:0"),
        ("foo bar baz", "2dw", "baz", "0:0"),
        ("foo bar", "wdw", "foo ", "0:3"),
        ("foo\nbar", "dw", "\nbar", "0:0"),
        ("foo bar", "wdb", "bar", "0:0"),
        ("foo bar", "cwx\x1b", "x bar", "0:0"),
        ("a bar", "cwx\x1b", "x bar", "0:0"),
        ("foo bar baz", "c2wx\x1b", "x baz", "0:0"),
        ("foo bar", "wcwx\x1b", "foo x", "0:4"),
        ("foo bar", "wD", "foo ", "0:3"),
        ("foo bar", "wCx\x1b", "foo x", "0:4"),
        ("abc", "sX\x1b", "Xbc", "0:0"),
        ("", "sX\x1b", "X", "0:0"),
        ("a\nb\nc", "Sx\x1b", "x\nb\nc", "0:0"),
        ("a\nb\nc", "jccx\x1b", "a\nx\nc", "1:0"),
        ("a\nb\nc", "dd", "b\nc", "0:0"),
        ("a\nb\nc", "Gdd", "a\nb", "1:0"),
        ("a\nb\nc", "5dd", "", "0:0"),
        ("a\nb\nc", "dj", "c", "0:0"),
        ("a\nb\nc", "dG", "", "0:0"),
        ("a\nb\nc", "jdgg", "c", "0:0"),
        ("a(b)c", "ld%", "ac", "0:1"),
        ("a,b,c", "df,", "b,c", "0:0"),
        ("a,b,c", "dt,", ",b,c", "0:0"),
        ("a,b,c", "$dF,", "a,bc", "0:3"),
        ("a\nb\n\nc", "d}", "\nc", "0:0"),
        ("abc", "rX", "Xbc", "0:0"),
        ("abc", "2rX", "XXc", "0:1"),
        ("abc", "4rX", "abc", "0:0"),
        ("abc", "lr\r", "a\nc", "1:0"),
        ("aBc", "3~", "AbC", "0:2"),
        ("a\n  b\nc", "J", "a b\nc", "0:1"),
        ("a\nb\nc", "3J", "a b c", "0:3"),
        ("a\n)", "J", "a)", "0:1"),
        ("a\nb", ">>", "\ta\nb", "0:1"),
        ("\ta\n          b", "2<<", "a\n  b", "0:0"),
        ("a\nb", ">j", "\ta\n\tb", "0:1"),
    ]);
}

#[test]
fn registers() {
    check(&[
        ("a\nb", "yyp", "a\na\nb", "1:0"),
        ("a\nb", "yyP", "a\na\nb", "0:0"),
        ("a\nb", "2yyGp", "a\nb\na\nb", "2:0"),
        ("ab", "xp", "ba", "0:1"),
        ("foo bar", "yw$p", "foo barfoo ", "0:10"),
        ("foo bar", "ywP", "foo foo bar", "0:3"),
        ("ab", "yl3p", "aaaab", "0:3"),
        ("a\nb", "\"ayyj\"byy\"ap", "a\nb\na", "2:0"),
        ("a\nb", "\"ayyj\"Ayy\"ap", "a\nb\na\nb", "2:0"),
        ("a\nb\nc", "ddGp", "b\nc\na", "2:0"),
        ("ab\ncd", "lv", "ab\ncd", "0:1"),
    ]);
}

#[test]
fn undo_and_repeat() {
    check(&[
        ("abc", "xxu", "bc", "0:0"),
        ("abc", "xxuu", "abc", "0:0"),
        ("abc", "xxuu\x12", "bc", "0:0"),
        ("abc", "ifoo\x1bu", "abc", "0:0"),
        ("a\nb\nc", "jddu", "a\nb\nc", "1:0"),
        ("a\nb", ":%s/[ab]/x/\ru", "a\nb", "0:0"),
        ("abcd", "x.", "cd", "0:0"),
        ("abcdef", "2x.", "ef", "0:0"),
        ("abcdef", "x3.", "ef", "0:0"),
        ("a b c", "cwx\x1bw.w.", "x x x", "0:4"),
        ("", "ax\x1b..", "xxx", "0:2"),
        ("a\nb\nc", "dd.", "c", "0:0"),
        ("abc", "x.u", "bc", "0:0"),
        ("a\nb", "A!\x1bj.", "a!\nb!", "1:1"),
    ]);
}

#[test]
fn commands_of_the_line() {
    check(&[
        ("a\nb\nc\nd", ":2,3d\r", "a\nd", "1:0"),
        ("a\nb\nc", ":2\r", "a\nb\nc", "1:0"),
        ("a\nb\nc", ":$\r", "a\nb\nc", "2:0"),
        ("a\nb\nc", ":.,+1d\r", "c", "0:0"),
        ("a\nb\nc", ":$-1d\r", "a\nc", "1:0"),
        ("a\nb\nc", ":/b/,$d\r", "a", "0:0"),
        ("a\nb\nc", "jma:'a,'ad\r", "a\nc", "1:0"),
        ("aa\naa", ":s/a/b/\r", "ba\naa", "0:0"),
        ("aa\naa", ":s/a/b/g\r", "bb\naa", "0:0"),
        ("aa\naa", ":%s/a/b/g\r", "bb\nbb", "1:0"),
        ("a/b", ":s#/#\\r#\r", "a\nb", "1:0"),
        ("ab", ":s/\\(a\\)\\(b\\)/\\2\\1/\r", "ba", "0:0"),
        ("aa\naa", ":s/a/b/\rj&", "ba\nba", "1:0"),
        ("a\nb\na", ":g/a/d\r", "b", "0:0"),
        ("a\nb\na", ":v/a/d\r", "a\na", "1:0"),
        ("ax\nb\nax", ":g/a/s/x/y/\r", "ay\nb\nay", "2:0"),
        ("a\nb\nc", ":1m$\r", "b\nc\na", "2:0"),
        ("a\nb\nc", ":3m0\r", "c\na\nb", "0:0"),
        ("a\nb\nc", ":1,3m0\r", "a\nb\nc", "2:0"),
        ("a\nb", ":1t.\r", "a\na\nb", "1:0"),
        ("a\nb\nc", ":1,3j\r", "a b c", "0:3"),
        ("a\nb", ":%>\r", "\ta\n\tb", "1:1"),
        ("a\nb\nc", ":2ka\r:'ad\r", "a\nc", "1:0"),
        ("a\nb", ":1y\r:pu\r", "a\na\nb", "1:0"),
        // Nothing, or a complaint, leaves all as it was.
        ("a\nb", ":\r", "a\nb", "0:0"),
        ("a\nb", ":9d\r", "a\nb", "0:0"),
        ("a\nb", ":2,1d\r", "a\nb", "0:0"),
        ("a\nb", ":0d\r", "a\nb", "0:0"),
        ("a\nb", ":frob\r", "a\nb", "0:0"),
        ("a\nb", ":s/z/y/\r", "a\nb", "0:0"),
        ("a\nb", ":s/\\(/y/\r", "a\nb", "0:0"),
        ("a\nb", ":99999999999999999999999d\r", "a\nb", "0:0"),
        ("a\nb", ":'zd\r", "a\nb", "0:0"),
        ("a", ":ä\r", "a", "0:0"),
    ]);
    assert_eq!(after("a", ":9d\r").message, "there is no line 9");
    assert_eq!(after("aaa", ":s/a/b/g\r").message, "3 substitutions");
}

#[test]
fn what_is_asked_of_the_world() {
    let asked = |text: &str, typed: &str| {
        let mut editor = Editor::new(Text::new(vec![text.to_owned()]));
        let requests: Vec<Request> = keys(typed.as_bytes()).into_iter().filter_map(|key| editor.key(key)).collect();
        assert_eq!(editor.mode, Mode::Command);
        requests
    };
    let write =
        |path: Option<&str>, range, force, quit| Request::Write { path: path.map(Into::into), range, force, quit };
    assert_eq!(asked("a", ":w\r"), [write(None, None, false, false)]);
    assert_eq!(asked("a", ":w! x y\r"), [write(Some("x y"), None, true, false)]);
    assert_eq!(asked("a", ":1w x\r"), [write(Some("x"), Some((0, 0)), false, false)]);
    assert_eq!(asked("a", ":wq\r"), [write(None, None, false, true)]);
    assert_eq!(asked("a", ":x\r"), [Request::Quit { force: false }]);
    assert_eq!(asked("a", "x:x\r"), [write(None, None, false, true)]);
    assert_eq!(asked("a", "ZZ"), [Request::Quit { force: false }]);
    assert_eq!(asked("a", "xZZ"), [write(None, None, false, true)]);
    assert_eq!(asked("a", ":q!\r"), [Request::Quit { force: true }]);
    assert_eq!(asked("a", ":e! f\r"), [Request::Edit { path: Some("f".into()), force: true }]);
    assert_eq!(asked("a", ":0r f\r"), [Request::Read { path: Some("f".into()), below: 0 }]);
    assert_eq!(asked("a", ":r f\r"), [Request::Read { path: Some("f".into()), below: 1 }]);
    assert_eq!(asked("a", ":n\r"), [Request::Next { force: false, back: false }]);
}

#[test]
fn a_change_taken_back_is_none() {
    assert!(after("a", "x").text.is_changed());
    assert!(!after("a", "xu").text.is_changed());
    assert!(!after("a", "i\x1b").text.is_changed());
}

mod noise {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is typed, the cursor stays in the text and nothing panics.
        #[test]
        fn any_keys(text in "[a-c \n\u{e9}(]{0,40}", typed in "([hjklwbe0^$GfxXdcyPpurioaJ~.<>%nN/?:;,1-3a-c\\r\\x1b\"']|:s/a/b/g\\r|:%d\\r|dd|:g/a/d\\r){0,40}") {
            let mut editor = Editor::new(Text::new(text.split('\n').map(str::to_owned).collect()));
            for key in keys(typed.as_bytes()) {
                editor.key(key);
                prop_assert!(editor.cursor.line < editor.text.count());
                prop_assert!(editor.cursor.column <= editor.text.length(editor.cursor.line));
                editor.frame(5, 7);
            }
        }
    }
}
