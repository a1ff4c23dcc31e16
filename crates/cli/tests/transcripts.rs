//! The transcripts in `tests/cli`: what the tool says to each mistake, word for word.
//!
//! Each `<case>.trycmd` runs in a copy of `<case>.in`. After a wanted change of the
//! wording, `TRYCMD=overwrite cargo test -p entresol-cli` writes them anew; read the
//! difference before you commit it.

#[test]
fn the_tool_says_what_its_transcripts_say() {
    trycmd::TestCases::new()
        .env("NO_COLOR", "1")
        .default_bin_name("entresol")
        .case("../../tests/cli/*.trycmd");
}
