//! Go templates, as people write them after `--format`.
//!
//! The language is that of Go's `text/template` without `define`, `block` and `template`, with the functions that Docker adds (`json`,
//! `join`, `split`, `lower`, `upper`, `title`, `pad`, `truncate`). Data are JSON values: an object stands for a struct or a map, and
//! messages are Go's and Docker's as far as that allows. A template reads its data only, and is done after one walk over them.

mod exec;
mod functions;
mod lexer;
mod parse;
mod printf;

use serde_json::{Map, Value};

/// What is wrong with a template, or with its data: in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Self {
        Error(text.into())
    }
}

/// A template, ready to be executed.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<parse::Node>,
}

/// How names that the data lack are treated, and what some functions do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode<'a> {
    /// The Go type that a missing field is said to be missing from; without one it is a map.
    pub type_name: Option<&'a str>,
    /// What `.Label "KEY"` looks up.
    pub labels: Option<&'a Map<String, Value>>,
    /// The data are the titles of a table's columns: functions leave them as they are.
    pub header: bool,
}

impl Template {
    /// Parse a template.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub fn parse(source: &str) -> Result<Self, Error> {
        Ok(Template { nodes: parse::parse(source)? })
    }

    /// Execute it.
    ///
    /// # Errors
    /// A field that is not there, a function that cannot take its arguments.
    pub fn render(&self, data: &Value, mode: Mode<'_>) -> Result<String, Error> {
        exec::execute(&self.nodes, data, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn data() -> Value {
        json!({
            "Id": "abc", "Name": "/web", "Pid": 42, "Big": 5_000_000_000_u64, "Ratio": 1.5, "On": true, "Off": false, "Empty": "",
            "Nothing": null, "List": ["a", "b", "c"], "None": [],
            "Config": { "Image": "redis", "Labels": { "b": "2", "a": "1" }, "Env": ["A=1", "B=2"], "Cmd": ["sh", "-c", "x"] },
            "State": { "Running": true, "ExitCode": 0 },
            "Ports": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }], "81/tcp": null },
        })
    }

    fn render(source: &str) -> Result<String, Error> {
        Template::parse(source)?.render(&data(), Mode::default())
    }

    #[track_caller]
    fn check(source: &str, wanted: &str) {
        assert_eq!(render(source).as_deref(), Ok(wanted), "{source}");
    }

    #[test]
    fn fields_and_constants() {
        check("{{.Id}} {{ .Config.Image }} {{.Pid}} {{.Big}} {{.Ratio}} {{.On}}", "abc redis 42 5000000000 1.5 true");
        check(
            "{{.List}} {{.None}} {{.Config.Labels}} {{.State}}",
            "[a b c] [] map[a:1 b:2] map[ExitCode:0 Running:true]",
        );
        check("{{.Nothing}}|{{.Config.Labels.none}}", "<no value>|<no value>");
        check("{{\"x\"}}{{`y`}}{{1}}{{true}}{{(.Config).Image}}{{(index .List 1)}}", "xy1trueredisb");
        check("a{{/* c */}}b{{- \" c \" -}} d", "ab c d");
    }

    #[test]
    fn conditions_and_loops() {
        check("{{if .On}}y{{else}}n{{end}}{{if .Off}}y{{else if .Empty}}e{{else}}n{{end}}", "yn");
        check("{{range .List}}{{.}},{{end}}{{range .None}}x{{else}}none{{end}}", "a,b,c,none");
        check("{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}", "0=a 1=b 2=c ");
        check("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 ");
        check(
            "{{range $p, $c := .Ports}}{{$p}}->{{with $c}}{{(index . 0).HostPort}}{{end}};{{end}}",
            "80/tcp->8080;81/tcp->;",
        );
        check("{{range .List}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac");
        check("{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a");
        check("{{with .Config}}{{.Image}} {{$.Id}}{{end}}{{with .Empty}}x{{else}}-{{end}}", "redis abc-");
        check("{{$x := 1}}{{if .On}}{{$x = 2}}{{$y := 3}}{{$y}}{{end}}{{$x}}", "32");
        check("{{range 3}}{{.}}{{end}}", "012");
    }

    #[test]
    fn functions() {
        check("{{json .Config.Labels}}{{json .Id}}{{.List | json}}", r#"{"a":"1","b":"2"}"abc"["a","b","c"]"#);
        check("{{join .List \", \"}} {{upper .Id}} {{lower \"ABC\"}} {{title \"ab cd\"}}", "a, b, c ABC abc Ab Cd");
        check(
            "{{split \"a,b\" \",\"}} {{index (split \"a,b\" \",\") 1}} {{truncate .Id 2}} {{pad .Id 1 2}}|",
            "[a b] b ab  abc  |",
        );
        check(
            "{{len .List}} {{len .Id}} {{index .Config.Labels \"a\"}} {{index .Ports \"80/tcp\" 0 \"HostPort\"}}",
            "3 3 1 8080",
        );
        check("{{println .Id 1}}{{print 1 2 \"a\" 3}}", "abc 1\n1 2a3");
        check(
            "{{printf \"%s-%d %5s|%-5s|%05d %q %v %x\" .Id .Pid .Id .Id .Pid .Id .List 255}}",
            "abc-42   abc|abc  |00042 \"abc\" [a b c] ff",
        );
        check(
            "{{eq .Pid 42}} {{eq .Id \"x\" \"abc\"}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
            "true true true true true true false",
        );
        check(
            "{{and .On .Id}} {{and .Off .Id}} {{or .Off .Id}} {{not .On}} {{and .Off (index .List 9)}}",
            "abc false abc false false",
        );
        check(
            "{{slice .Id 1 2}} {{slice .List 1}} {{html \"<a>\"}} {{js \"'\"}} {{urlquery \"a b\"}}",
            "b [b c] &lt;a&gt; \\' a+b",
        );
        check("{{.Id | printf \"%s-%s\" \"x\" | upper}}", "X-ABC");
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let doubled = format!("{{{{$x := printf \"%4096d\" 1}}}}{}", "{{$x = print $x $x}}".repeat(60));
        let wide = format!("{{{{$x := \"{}\"}}}}", "%4096d".repeat(8000)) + "{{printf $x 1 | len}}";
        for source in [
            "{{range 1048576}}".repeat(20) + &"{{end}}".repeat(20),
            "{{range 3000}}{{range 3000}}{{$.Id}}{{end}}{{end}}".into(),
            format!("{doubled}{{{{len $x}}}}"),
            doubled + "{{range split $x \"\"}}{{end}}",
            wide,
        ] {
            let started = std::time::Instant::now();
            if let Ok(text) = Template::parse(&source).unwrap().render(&data(), Mode::default()) {
                assert!(text.len() < 100, "{}", text.len());
            }
            assert!(started.elapsed().as_secs() < 30);
        }
        let error = Template::parse("{{range 1048576}}{{range 1048576}}{{end}}{{end}}").unwrap();
        let error = error.render(&data(), Mode::default()).unwrap_err().to_string();
        assert!(error.contains("goes on for too long"), "{error}");
    }

    #[test]
    fn labels_by_name() {
        let labels = json!({ "com.example.key": "v" });
        let mode = Mode { labels: labels.as_object(), ..Mode::default() };
        let label = Template::parse("{{.Label \"com.example.key\"}}|{{.Label \"none\"}}").unwrap();
        assert_eq!(label.render(&json!({}), mode).unwrap(), "v|");
        assert_eq!(label.render(&json!({}), Mode { header: true, ..mode }).unwrap(), "key|none");
    }

    #[test]
    fn messages_are_gos() {
        for (source, wanted) in [
            ("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
            ("{{.State.Foo}}", "template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\""),
            ("{{.Id.Foo}}", "can't evaluate field Foo in type string"),
            ("{{.Nothing.Foo}}", "nil pointer evaluating interface {}.Foo"),
            ("{{index .List 9}}", "error calling index: index out of range: 9"),
            ("{{foo}}", "template: :1: function \"foo\" not defined"),
            ("{{.Id", "template: :1: unclosed action"),
            ("{{if .Id}}", "unexpected EOF"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{$x}}", "undefined variable \"$x\""),
            ("{{}}", "missing value for command"),
            ("{{break}}", "{{break}} outside {{range}}"),
            ("{{template \"x\"}}", "{{template}} is not supported"),
            ("{{eq 1 \"a\"}}", "incompatible types for comparison"),
            ("{{len 3}}", "error calling len: len of type int"),
            ("{{.Id 1}}", "Id is not a method but has arguments"),
            ("{{upper}}", "wrong number of args for upper: want 1 got 0"),
        ] {
            let error = render(source).unwrap_err().to_string();
            assert!(error.contains(wanted), "{source}: {error}");
        }
        let typed = Mode { type_name: Some("*formatter.ContainerContext"), ..Mode::default() };
        let error = Template::parse("{{.Foo}}").unwrap().render(&data(), typed).unwrap_err();
        assert_eq!(
            error.to_string(),
            "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
        );
    }

    proptest! {
        #[test]
        fn text_is_printed_as_it_is(text in "[^{]{0,60}") {
            prop_assert_eq!(render(&text), Ok(text));
        }

        #[test]
        fn nothing_panics(source in "(\\{\\{|\\}\\}|-| |\\.|Id|List|range|if|else|end|\\$x|:=|=|,|\\(|\\)|\\||printf|index|len|\"%d%5.*s\"|1|9|'a'|é){0,20}") {
            let _ = render(&source);
        }

        #[test]
        fn any_format_is_survived(format in ".{0,20}", number in any::<i64>()) {
            let source = format!("{{{{printf {} {number} .Id .List}}}}", serde_json::to_string(&format).unwrap());
            let _ = render(&source);
        }
    }
}
