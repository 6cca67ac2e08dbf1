//! Dockerfiles that cover every instruction.

use shale_tests::build::{Case, case};

pub const CASES: &[Case] = &[
    // FROM and stages.
    case("FROM base:1"),
    case("FROM scratch\nCOPY a.txt /"),
    case("FROM scratch\nENV A=1\nLABEL a=b\nCMD [\"x\"]"),
    case("from base:1 as One\nENV A=1\nfrom ONE\nENV B=$A"),
    case("FROM base:1 AS a\nARG X=1\nENV E=e\nMAINTAINER me\nFROM a\nENV Y=x${X}y${E}"),
    case("FROM base:1 AS a\nCOPY a.txt /a\nFROM base:1 AS b\nCOPY b.txt /b\nFROM base:1\nCOPY --from=a /a /\nCOPY --from=b /b /").with_own_key(),
    case("FROM base:1 AS unused\nENV U=1\nFROM base:1\nENV V=1"),
    case("FROM base:1 AS a\nENV A=1\nFROM base:1 AS b\nENV B=1").flags(&["--target", "a"]),
    case("ARG IMAGE=base\nARG TAG=1\nFROM ${IMAGE}:$TAG\nENV I=$IMAGE\nARG IMAGE\nENV J=$IMAGE"),
    // ARG.
    case("ARG FOO=bar\nARG UNSET\nARG EMPTY=\nRUN echo [$FOO] [$UNSET] [$EMPTY]"),
    case("ARG A=1\nENV A=2\nRUN echo $A"),
    case("ENV A=1\nARG A=2\nRUN echo $A"),
    case("ARG A=1\nARG B=${A}2\nRUN echo $B"),
    case("ARG FOO=bar\nRUN echo $FOO\nENV F=$FOO").flags(&[
        "--build-arg",
        "FOO=given",
        "--build-arg",
        "NOBODY=1",
    ]),
    case("RUN echo $HTTP_PROXY-$no_proxy").flags(&[
        "--build-arg",
        "HTTP_PROXY=p",
        "--build-arg",
        "no_proxy=q",
    ]),
    case("ARG HTTP_PROXY\nRUN echo $HTTP_PROXY").flags(&["--build-arg", "HTTP_PROXY=p"]),
    case("ARG A=\"quoted value\" \nENV B=$A C='single $A' D=\"double $A\" E=\\$A"),
    // ENV and expansion.
    case("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc"),
    case("ENV one two three  four \nENV two \"q u\""),
    case("ENV A=a\\ b B=\"c d\" C='e f' D=g\\\"h E="),
    case("ENV A=${B:-dflt} C=${A:+alt}\nENV D=${A:+alt} E=${A:-x} F=${UN:+y}z"),
    case("ENV A=1\nENV P=$A/$B/${A}_$A_ Q=$ R=$$ S=\\\\ T=a$"),
    case("# escape=`\nFROM base:1\nENV W=c:\\x Y=`$A\nRUN echo `\n  two"),
    case("ENV PATH=/opt:$PATH\nENV PATH=$PATH:/end"),
    case("ENV A=1 \\\n# a comment inside\n    B=2 \\\n\n    C=3"),
    // LABEL, MAINTAINER.
    case("LABEL a=b \"c d\"=\"e f\" x=\nLABEL a=2 multi=\"one \\\ntwo\""),
    case("LABEL legacy form here"),
    case("MAINTAINER Some One <a@b.c>\nENV A=1"),
    case("LABEL a=b").flags(&["--label", "c=d", "--label", "a=x"]),
    // RUN.
    case(
        "RUN echo out > /o; mkdir -p /m/n; rm /etc/group; chmod 700 /tmp; ln -s o /l; touch -d @1000000000 /old",
    ),
    case("RUN true"),
    case("RUN [\"/bin/echo\", \"exec $PATH\"]"),
    case("RUN echo a; sleep 0.3; echo b >&2; sleep 0.3; echo c"),
    case("RUN id -u; id -g; pwd; echo $HOME; test -t 0 || echo notty; cat; hostname | wc -c"),
    case("RUN echo \"multi \\\n   line\" && \\\n    echo two"),
    case("RUN rm -rf /t && mkdir /t && echo n > /t/n; rm -r /real"),
    case("RUN chown 5:6 /tf; chmod 4755 /bin/busybox; mknod /n c 1 3; mkfifo /q; ln /tf /tf2"),
    case("USER user\nRUN id; touch /tmp/mine"),
    case("USER 1000\nRUN id; echo $HOME"),
    case(
        "RUN ls /dev /proc/self/fd | head -30; ls -a / /etc; cat /proc/self/status | grep -i -e cap -e seccomp -e nonew",
    ),
    case("RUN env | sort | grep -v HOSTNAME"),
    case("SHELL [\"/bin/sh\", \"-ec\"]\nRUN echo $0\nCMD run it"),
    case("RUN echo 'quotes \"x\" $HOME' \"$HOME\" `echo sub`"),
    // CMD, ENTRYPOINT.
    case("CMD [\"echo\", \"hi\"]\nENTRYPOINT [\"/bin/sh\"]"),
    case("CMD echo $HOME x  y\nENTRYPOINT exec top -b"),
    case("ENTRYPOINT [\"a\"]\nCMD []\nENTRYPOINT []").with_own_key(),
    case("CMD [\"a\", b]\nCMD ['c']"),
    case("FROM base:1 AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"y\"]"),
    // EXPOSE, VOLUME, USER, WORKDIR, STOPSIGNAL.
    case("EXPOSE 80/tcp 443 53/udp\nEXPOSE 8000-8002\nENV P=\"7 9\"\nEXPOSE $P"),
    case("VOLUME /data /data2\nVOLUME [\"/j\", \"/k l\"]"),
    case(
        "RUN mkdir /data; echo kept > /data/a\nVOLUME /data\nRUN echo lost > /data/b\nCOPY a.txt /data/c\nRUN ls /data",
    ),
    case("USER 1000:1001\nUSER user\nUSER user:staff"),
    case("WORKDIR /a\nWORKDIR b\nWORKDIR ../c/./d\nRUN pwd"),
    case("WORKDIR /t\nWORKDIR /t"),
    case("ENV D=/dir\nWORKDIR $D/x\nUSER 1000\nWORKDIR sub\nRUN ls -ld ."),
    case("WORKDIR /dl/new"),
    case("STOPSIGNAL SIGTERM\nSTOPSIGNAL 9\nSTOPSIGNAL int"),
    // HEALTHCHECK, SHELL, ONBUILD.
    case(
        "HEALTHCHECK --interval=5s --timeout=3s --start-period=1s --retries=2 CMD echo ok\nHEALTHCHECK CMD [\"a\", \"b\"]\nHEALTHCHECK NONE",
    ),
    case("HEALTHCHECK --interval=1m30s CMD x\nENV A=1\nHEALTHCHECK --retries=5 CMD y"),
    case("ONBUILD RUN echo trig\nONBUILD COPY a.txt /\nonbuild env A=$B"),
    case("FROM base:1 AS parent\nONBUILD ENV T=1\nONBUILD COPY a.txt /trig/\nFROM parent\nENV U=$T"),
    case("FROM onbuild:0\nENV U=$T"),
    case("FROM onbuild:0\nRUN cat /trig/a.txt"),
    // The text itself.
    case("# syntax=docker/dockerfile:1\n# a comment\nFROM base:1\n\n\n   ENV A=1   \n\tRUN echo tab"),
    case("FROM base:1\r\nENV A=1\r\nRUN echo crlf\r\n"),
    case("env A=1 \\\n\n B=2\nRUN echo \\"),
    case("copy a.txt /x\nadd b.txt /y\nworkdir /z\nuser 5\ncmd q\nentrypoint r"),
    // Flags.
    case("ENV A=1\nRUN echo quiet").flags(&["-q"]),
    case("RUN echo new").flags(&["--no-cache"]),
    case("RUN cat /etc/hosts | grep extra").flags(&["--add-host", "extra:10.1.2.3"]),
    case("RUN df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2").flags(&["--shm-size", "32m"]),
    case("RUN ulimit -n").flags(&["--ulimit", "nofile=77:88"]),
    case("RUN ls /sys/class/net").flags(&["--network", "none"]),
];
