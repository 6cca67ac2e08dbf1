//! COPY and ADD: every shape of source and destination.

use shale_tests::build::{Case, case};

/// Two names of one file.
const HARD_LINKS: &str = "mkdir h; echo h > h/1; ln h/1 h/2";

pub const CASES: &[Case] = &[
    // A file.
    case("COPY a.txt /x"),
    case("COPY a.txt /x/"),
    case("COPY a.txt /t"),
    case("COPY a.txt /t/"),
    case("COPY a.txt /tf"),
    case("COPY a.txt /n1/n2/n3"),
    case("COPY /a.txt /./x/../y"),
    case("COPY empty /x"),
    case("COPY setuid x.sh readonly /x/"),
    case("COPY [\"file with blank\", \"/x y\"]"),
    case("COPY ünïcode /x/"),
    // A directory.
    case("COPY d /x"),
    case("COPY d/ /x/"),
    case("COPY d/. /x"),
    case("COPY d2 /t"),
    case("COPY d /t/new/er"),
    case("COPY d d2 /x/"),
    case("COPY a.txt d /x/"),
    case("COPY d2/deep/er /"),
    case("COPY e /x"),
    case("COPY . /c"),
    case("COPY [\"sp ace\", \"/sp ace/\"]"),
    // Wildcards.
    case("COPY d* /x/"),
    case("COPY w*.md /x/"),
    case("COPY w?.md /x/"),
    case("COPY [a-w]?.md /x/"),
    case("COPY w[^1].md /x/"),
    case("COPY b[[]k /x/"),
    case("COPY a\\*b /x/"),
    case("COPY d*/one d?/th* /x/"),
    case("COPY */ /x/"),
    case("COPY .h* /x/"),
    // Links as sources.
    case("COPY lf /x"),
    case("COPY ld /x"),
    case("COPY labs /x"),
    case("COPY lup /x"),
    case("COPY lld /x/"),
    case("COPY ld/one /x"),
    case("COPY links /x/"),
    case("COPY l[fd] /x/"),
    // Links as destinations.
    case("COPY a.txt /dl"),
    case("COPY a.txt /dl/"),
    case("COPY a.txt /dl/new/x"),
    case("COPY d /dl"),
    case("COPY a.txt /fl"),
    case("COPY d /t"),
    case("COPY a.txt /p/link/x"),
    case("COPY a.txt /abs/old/y"),
    case("COPY a.txt /dang"),
    case("COPY d /dang"),
    // Owners.
    case("COPY --chown=5:6 a.txt /n1/n2/x"),
    case("COPY --chown=user a.txt /x"),
    case("COPY --chown=user:staff d /x"),
    case("COPY --chown=7 links /x"),
    case("USER 1000:1001\nCOPY a.txt /n1/x"),
    // Relative destinations.
    case("WORKDIR /w/d\nCOPY a.txt ."),
    case("WORKDIR /w/d\nCOPY a.txt ../x"),
    case("WORKDIR w\nCOPY d sub/"),
    case("COPY a.txt ."),
    // Special files.
    case("COPY f /x"),
    case("COPY h /x").context(HARD_LINKS).with_own_key(),
    case("COPY h/1 h/2 /x/").context(HARD_LINKS).with_own_key(),
    // ADD of archives.
    case("ADD t.tar /x"),
    case("ADD t.tgz /x/"),
    case("ADD t.tbz /t"),
    case("ADD t.txz /"),
    case("ADD t.tar a.txt /x/"),
    case("ADD --chown=5:6 t.tar /x/"),
    case("ADD truncated.tgz /x/"),
    case("ADD fake.tar a.txt.gz /x/"),
    case("ADD t.tzst /x/"),
    case("ADD d /x"),
    case("ADD t.tar /dl"),
    case("COPY t.tar /x"),
    // Other stages and images.
    case("FROM base:1 AS one\nCOPY --chown=5:6 d /d\nFROM base:1\nCOPY --from=one /d /x\nCOPY --from=0 /d/one /y/").with_own_key(),
    case("FROM base:1 AS one\nCOPY --chown=5:6 d /d\nFROM base:1\nCOPY --from=one --chown=8:9 /d/ /tf /x/").with_own_key(),
    case("COPY --from=base:1 /etc/passwd /t /x/").with_own_key(),
];
