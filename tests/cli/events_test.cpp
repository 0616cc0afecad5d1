// Goal: the lines of --json are exactly those of docs/cli.md; other people's programs read them.
// Method: each event's text, compared whole.
#include "cli/events.h"

#include <catch2/catch.hpp>

using namespace banyan;
using namespace banyan::cli;

TEST_CASE("each event has its fields in the order of the document") {
  Events events(false);
  CHECK(events.start("web1", 7, {"web1"}, "ssh") ==
        R"({"event":"start","target":"web1","context":7,"route":["web1"],"transport":"ssh"})"
        "\n");
  CHECK(events.out("web1", false, "a\"b\n\x1b") ==
        R"({"event":"out","target":"web1","stream":"stdout","data":"a\"b\n\u001b"})"
        "\n");
  CHECK(events.out("web1", false, std::string_view("\xff\x00z", 3)) ==
        R"({"event":"out","target":"web1","stream":"stdout","base64":"/wB6"})"
        "\n");
  CHECK(events.exit("web1", 3, std::nullopt, 1'250 * kMillisecond) ==
        R"({"event":"exit","target":"web1","code":3,"signal":null,"seconds":1.25})"
        "\n");
  CHECK(events.exit("web1", std::nullopt, 15, 0) ==
        R"({"event":"exit","target":"web1","code":null,"signal":"SIGTERM","seconds":0.0})"
        "\n");
  Error error;
  error.error_class = ErrorClass::kHostKey;
  error.phase = Phase::kKex;
  error.text = "no key is known";
  error.remedy = "compare it";
  CHECK(
      events.fail("web1", {"gw", "web1"}, error, 2 * kSecond) ==
      R"({"event":"fail","target":"web1","route":["gw","web1"],"phase":"kex","class":"hostkey","error":"no key is known",)"
      R"("remedy":"compare it","started":"no","seconds":2.0})"
      "\n");
  error.remedy.clear();
  error.started = Started::kUnknown;
  CHECK(events.fail("web1", {"gw", "web1"}, error, 0).find(R"("remedy":null,"started":"unknown")") !=
        std::string::npos);
  CHECK(events.summary({1, 2, 3, 4, 5}, 1'500 * kMicrosecond, 4) ==
        R"({"event":"summary","ok":1,"failed":2,"timeout":3,"unreachable":4,"cancelled":5,"seconds":0.0015,)"
        R"("exit_code":4})"
        "\n");
  CHECK(events.context({7, 0, "web1", "ssh", "x86_64", 4711, 1'500 * kMicrosecond, 400}) ==
        R"({"context":7,"parent":0,"name":"web1","method":"ssh","arch":"x86_64","pid":4711,"rtt_us":1500,)"
        R"("rss_kib":400})"
        "\n");
  CHECK(events.context({}).find(R"("parent":null)") != std::string::npos);
  CHECK(events.context({}).find(R"("rtt_us":null)") != std::string::npos);
}

TEST_CASE("events for a terminal hold nothing beyond ASCII") {
  Events events(true);
  const std::string line = events.out(
      "w\xc3\xa9"
      "b",
      false, "\xe2\x80\xae\xc2\x9b\x7f");
  CHECK(line == R"({"event":"out","target":"w\u00e9b","stream":"stdout","data":"\u202e\u009b\u007f"})"
                "\n");
}

TEST_CASE("a text that is not UTF-8 makes no event impossible") {
  Events events(false);
  Error error;
  error.text = "bad \xff byte";
  CHECK(events.fail("web1", {"gw", "web1"}, error, 0).find("bad \xef\xbf\xbd byte") != std::string::npos);
}

TEST_CASE("signals have their names") {
  CHECK(signal_name(9) == "SIGKILL");
  CHECK(signal_name(15) == "SIGTERM");
  CHECK(signal_name(40) == "SIG40");
}
