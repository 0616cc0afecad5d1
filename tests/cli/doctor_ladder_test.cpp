// Goal: whatever was seen of a target, the ladder names the one step that failed and something to do about
// it. Method: values in the place of a host: each error, phase and class, with what was seen before it.
#include "cli/doctor_ladder.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/text.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

constexpr const char* kReport = "x86_64 dd - /tmp/.banyan-0123456789abcdef.7";

struct Case {
  WayRecord way;
  Seen seen;

  explicit Case(BackEnd back_end = BackEnd::kLibssh2) {
    way.began = 1;
    way.answered = 2;
    auto settings = std::make_shared<SshSettings>();
    settings->hostname = "web1.example.com";
    settings->user = "deploy";
    settings->port = 22;
    way.settings = settings;
    way.choice = BackEndChoice{back_end, false, "--ssh", "as it says", ""};
    way.journal = std::make_shared<StartJournal>();
    way.journal->began = 3;
    seen.target = "web1";
    seen.way = &way;
    seen.took = kSecond;
  }
  Case& fails(ErrorClass error_class, Phase phase, std::string_view text = "it broke",
              std::string_view remedy = "") {
    seen.error = Error(error_class, phase, text, remedy);
    return *this;
  }
  Case& reported(std::string report = kReport) {
    way.journal->report = std::move(report);
    way.journal->reported = 4;
    return *this;
  }
  Case& came_up() {
    reported();
    seen.child.emplace();
    seen.child->hello.architecture = "x86_64";
    seen.farewell = kMillisecond;
    return *this;
  }
  Case& said(const char* text) {
    way.journal->said.push_back({text, 5});
    return *this;
  }
  std::string failed() const { return make_ladder(seen).failed(); }
};

const LadderStep& step(const DoctorReport& report, std::string_view name) {
  const auto found = std::ranges::find(report.steps, name, &LadderStep::name);
  REQUIRE(found != report.steps.end());
  return *found;
}

}  // namespace

TEST_CASE("a connection that was reset over ssh fails in the phase its steps had come to") {
  const auto reset = [](const char* steps) {
    return Case(BackEnd::kOpenssh)
        .said(steps)
        .fails(ErrorClass::kLost, Phase::kKex, "Connection reset by 192.0.2.7 port 22")
        .failed();
  };
  CHECK(reset("") == "kex");
  CHECK(reset("debug1: Connection established.\n") == "kex");
  CHECK(reset("debug1: Connection established.\ndebug1: SSH2_MSG_NEWKEYS received\n") == "auth");
}

TEST_CASE("each phase that fails is its own step") {
  using C = ErrorClass;
  CHECK(Case().fails(C::kUnreachable, Phase::kResolve).failed() == "resolve");
  CHECK(Case().fails(C::kUnreachable, Phase::kConnect).failed() == "connect");
  CHECK(Case().fails(C::kHostKey, Phase::kKex).failed() == "kex");
  CHECK(Case().fails(C::kAuth, Phase::kAuth).failed() == "auth");
  CHECK(Case().fails(C::kBootstrap, Phase::kShell).failed() == "shell");
  CHECK(Case().reported("x86_64 dd - - /tmp").fails(C::kBootstrap, Phase::kShell).failed() == "stage0");
  CHECK(Case().reported().fails(C::kBootstrap, Phase::kUpload).failed() == "upload");
  CHECK(Case().reported().fails(C::kBootstrap, Phase::kUpload, "could not (exec 126)").failed() == "execute");
  CHECK(Case().reported().fails(C::kBootstrap, Phase::kHello, "refused (execute 13)").failed() == "execute");
  CHECK(Case().reported().fails(C::kTimeout, Phase::kHello).failed() == "hello");
  CHECK(Case().came_up().fails(C::kTimeout, Phase::kLink).failed() == "call");
  CHECK(Case().came_up().failed().empty());
  Case nothing_started;
  nothing_started.way.journal = nullptr;
  CHECK(nothing_started.fails(C::kRefused, Phase::kResolve).failed() == "settings");
}

TEST_CASE("where ssh keeps silent for too long, its own words say what it was about") {
  const auto late = [](const char* text) {
    return Case(BackEnd::kOpenssh).said(text).fails(ErrorClass::kTimeout, Phase::kConnect).failed();
  };
  CHECK(late("") == "resolve");
  CHECK(late("debug1: Connecting to web1 [10.0.0.1] port 22.\n") == "connect");
  CHECK(late("debug1: Connection established.\n") == "kex");
  CHECK(late("debug1: SSH2_MSG_NEWKEYS received\n") == "auth");
  CHECK(late("Authenticated to web1 ([10.0.0.1]:22) using \"publickey\".\n") == "shell");
}

TEST_CASE("what was told of the steps is shown over both back ends, and a stranger's words are escaped") {
  for (const BackEnd back_end : {BackEnd::kLibssh2, BackEnd::kOpenssh}) {
    Case told(back_end);
    told.came_up().said(
        "debug1: Connecting to web1 [10.0.0.1] port 22.\ndebug1: Connection established.\n"
        "debug1: Remote protocol version 2.0, remote software version evil\033[31m\n"
        "debug1: Server host key: ssh-ed25519 SHA256:host\ndebug1: SSH2_MSG_NEWKEYS received\n"
        "debug1: Offering public key: /a b/id ssh-ed25519 SHA256:mine\n"
        "debug1: Server accepts key: /a b/id ssh-ed25519 SHA256:mine\n"
        "debug1: Authenticated to web1 using \"publickey\".\n");
    const DoctorReport report = make_ladder(told.seen);
    CHECK(step(report, "resolve").found == "10.0.0.1");
    CHECK(step(report, "kex").found == "host key ssh-ed25519 SHA256:host");
    CHECK(step(report, "auth").found == "publickey: /a b/id ssh-ed25519 SHA256:mine");
    const std::string text = doctor_text(report);
    CHECK(text.find("port 22, evil\\x1b[31m\n") != text.npos);
    CHECK(text.find('\033') == text.npos);
  }
}

TEST_CASE("keys that were offered are named once where none let in") {
  const char* offer = "debug1: Offering public key: /id ssh-ed25519 SHA256:mine\n";
  const auto found = [&](std::string_view text) {
    return step(make_ladder(Case().said(offer).fails(ErrorClass::kAuth, Phase::kAuth, text).seen), "auth")
        .found;
  };
  CHECK(found("denied") == "denied; offered: /id ssh-ed25519 SHA256:mine");
  CHECK(found("denied; refused: /id") == "denied; refused: /id");
}

TEST_CASE("of what a hop starts each phase that fails is its own step, after that of the hop") {
  using C = ErrorClass;
  const auto beneath = [](C error_class, Phase phase, std::string_view text = "it broke") {
    Case at_hop;
    at_hop.way.journal = nullptr;
    at_hop.way.choice.reset();
    at_hop.way.attempts = 1;
    at_hop.seen.hop = "gw";
    at_hop.fails(error_class, phase, text);
    return at_hop;
  };
  Case lost = beneath(C::kLost, Phase::kAuth, "hop gw: lost");
  CHECK(lost.failed() == "auth");  // anybody can say so
  lost.way.hop_failed = true;
  CHECK(lost.failed() == "hop");
  CHECK(beneath(C::kUnreachable, Phase::kResolve).failed() == "resolve");
  CHECK(beneath(C::kUnreachable, Phase::kConnect).failed() == "connect");
  CHECK(beneath(C::kHostKey, Phase::kKex).failed() == "kex");
  CHECK(beneath(C::kAuth, Phase::kAuth).failed() == "auth");
  CHECK(beneath(C::kBootstrap, Phase::kShell).failed() == "shell");
  CHECK(beneath(C::kBootstrap, Phase::kUpload).failed() == "upload");
  CHECK(beneath(C::kTimeout, Phase::kHello).failed() == "hello");
  CHECK(beneath(C::kCancelled, Phase::kAuth).failed() == "auth");
  Case not_asked = beneath(C::kHostKey, Phase::kKex, "no key of it is known here");
  not_asked.way.attempts = 0;
  CHECK(not_asked.failed() == "settings");
  for (const Method method : {Method::kSudo, Method::kSu, Method::kDoas, Method::kContainer}) {
    Case become = beneath(C::kAuth, Phase::kBecome);
    become.seen.method = method;
    CHECK(become.failed() == "become");
  }

  const Case denied = beneath(C::kAuth, Phase::kAuth);
  const DoctorReport report = make_ladder(denied.seen);
  CHECK(step(report, "hop").found == "gw");
  CHECK(step(report, "settings").found == "deploy@web1.example.com port 22, by the ssh of gw");
  CHECK(step(report, "kex").state == LadderStep::State::kOk);
  CHECK(std::ranges::count(report.steps, "stage0", &LadderStep::name) == 0);
}

TEST_CASE("where a jump fails, what was well before that was the jump's and not the target's") {
  Case at_jump;
  at_jump.way.known_keys = {{"ssh-ed25519", {}}};
  const DoctorReport report =
      make_ladder(at_jump.fails(ErrorClass::kAuth, Phase::kAuth, "jump ann@gw: no key let us in").seen);
  CHECK(report.failed() == "auth");
  for (const char* name : {"resolve", "connect", "kex"}) {
    CHECK(step(report, name).found == "that of jump ann@gw");
    CHECK(step(report, name).facts.empty());
  }
}

TEST_CASE("a hop with others beneath it has no end in its ladder, since it ends with the last of them") {
  Case up;
  up.came_up();
  up.seen.is_hop = true;
  const DoctorReport report = make_ladder(up.seen);
  CHECK(report.failed().empty());
  CHECK(report.steps.back().name == "call");

  up.seen.left = "a file of ours: /tmp/x";
  up.fails(ErrorClass::kIo, Phase::kLink, "left: a file of ours");
  CHECK(up.failed() == "shutdown");
}

TEST_CASE("of what a hop starts nobody says that nothing is left there") {
  Case at_hop;
  at_hop.came_up();
  at_hop.way.journal = nullptr;
  at_hop.seen.hop = "gw";
  CHECK(step(make_ladder(at_hop.seen), "shutdown").found.empty());
}

TEST_CASE("what was reached before the failure is well, what comes after it is not reached") {
  const DoctorReport report =
      make_ladder(Case().reported().fails(ErrorClass::kBootstrap, Phase::kUpload).seen);
  CHECK(report.steps.size() == 12);
  CHECK(step(report, "stage0").state == LadderStep::State::kOk);
  CHECK(step(report, "upload").state == LadderStep::State::kFailed);
  CHECK(step(report, "upload").found == "it broke");
  CHECK(step(report, "hello").state == LadderStep::State::kNotReached);
  CHECK(step(report, "shutdown").state == LadderStep::State::kNotReached);
}

TEST_CASE("every step has something to do about it, unless the failure says it better") {
  for (int phase = 0; phase < kPhaseCount; ++phase) {
    CAPTURE(phase);
    const DoctorReport own = make_ladder(Case().fails(ErrorClass::kIo, Phase(phase)).seen);
    CHECK(own.error->remedy.size() > 10);
    CHECK(make_ladder(Case().fails(ErrorClass::kIo, Phase(phase), "x", "ask Ann").seen).error->remedy ==
          "ask Ann");
  }
}

TEST_CASE("a file of ours that is left is an illness of the last step") {
  Case left;
  left.came_up().fails(ErrorClass::kIo, Phase::kLink);
  left.seen.left = "a file";
  CHECK(left.failed() == "shutdown");
}

TEST_CASE("this machine has the steps that a pipe has") {
  Case local;
  local.seen.method = Method::kLocal;
  local.way.choice.reset();
  local.way.settings = nullptr;
  CHECK(make_ladder(local.seen).steps.size() == 5);
  CHECK(local.fails(ErrorClass::kBootstrap, Phase::kHello).failed() == "hello");
  CHECK(local.fails(ErrorClass::kBootstrap, Phase::kUpload).failed() == "execute");
  CHECK(local.fails(ErrorClass::kResource, Phase::kConnect).failed() == "execute");
}

TEST_CASE("becoming another user is a step of its own, between nothing that ssh has") {
  Case sudo;
  sudo.reported();
  sudo.seen.method = Method::kSudo;
  sudo.seen.user = "postgres";
  sudo.way.choice.reset();
  sudo.way.settings = nullptr;
  std::string names;
  for (const LadderStep& step : make_ladder(sudo.seen).steps) names += step.name + " ";
  CHECK(names == "settings become stage0 upload execute hello call shutdown ");
  CHECK(make_ladder(sudo.seen).steps[1].found == "as postgres, by sudo");
  CHECK(sudo.fails(ErrorClass::kBootstrap, Phase::kUpload).failed() == "upload");
  CHECK(sudo.fails(ErrorClass::kBootstrap, Phase::kShell).failed() == "stage0");
  sudo.way.journal->report.clear();
  CHECK(sudo.fails(ErrorClass::kAuth, Phase::kBecome).failed() == "become");
  CHECK(sudo.fails(ErrorClass::kBootstrap, Phase::kShell).failed() == "become");
}

TEST_CASE("of a container the ladder has what was gone through: its namespaces, or stage 0 by its engine") {
  Case docker;
  docker.reported();
  docker.seen.method = Method::kContainer;
  docker.seen.container = "app";
  docker.way.choice.reset();
  docker.way.settings = nullptr;
  std::string names;
  for (const LadderStep& step : make_ladder(docker.seen).steps) names += step.name + " ";
  CHECK(names == "settings become stage0 upload execute hello call shutdown ");
  CHECK(make_ladder(docker.seen).steps[1].found == "into app, by the exec of docker");
  docker.way.journal->report.clear();
  names.clear();
  for (const LadderStep& step : make_ladder(docker.seen).steps) names += step.name + " ";
  CHECK(names == "settings become execute hello call shutdown ");
  CHECK(make_ladder(docker.seen).steps[1].found == "into app, by its namespaces");
  CHECK(docker.fails(ErrorClass::kRefused, Phase::kBecome).failed() == "become");
  CHECK(docker.fails(ErrorClass::kTimeout, Phase::kHello).failed() == "hello");
}

TEST_CASE("stage 0's report is taken apart, and nothing in it is believed to be there") {
  const Stage0Report good = parse_stage0_report(kReport);
  CHECK(good.machine == "x86_64");
  CHECK(good.receiver == "dd");
  CHECK(good.file == "/tmp/.banyan-0123456789abcdef.7");
  CHECK(good.missing.empty());
  CHECK(parse_stage0_report("x86_64 printf ,rm,dd -").missing == std::vector<std::string>{"rm", "dd"});
  CHECK(parse_stage0_report("x dd - - /dev/shm /tmp").tried == std::vector<std::string>{"/dev/shm", "/tmp"});
  CHECK(parse_stage0_report("x dd - /home/a b/.banyan-1.2").file == "/home/a b/.banyan-1.2");
  for (const char* odd : {"", " ", "x", "x dd", "x dd -", "x dd ,", "- - - -", ",,,"})
    CHECK(parse_stage0_report(odd).tried.empty());
}

TEST_CASE("what a command saw over there is told with the folders that stage 0 passed over") {
  const Look look = parse_look(
      "directory missing /run/user/7\ndirectory noexec /dev/shm\ndirectory ok /tmp\ndirectory ok .\ndd "
      "bytewise\n"
      "program /memfd:banyan (deleted)\nhm\n\nleft");
  CHECK(look.directories.size() == 4);
  CHECK(look.directories[0].path == "/run/user/7");
  CHECK(look.program == "/memfd:banyan (deleted)");
  CHECK(look.file_is_left);
  Case up;
  up.came_up();
  up.seen.look = look;
  const DoctorReport report = make_ladder(up.seen);
  CHECK(step(report, "stage0").found ==
        "x86_64, /tmp (not /run/user/7: missing, /dev/shm: noexec), dd, byte by byte");
  CHECK(step(report, "execute").found == "from memory");
  std::string endless;
  for (int i = 0; i < 1000; ++i) endless += "directory ok /x\n";
  CHECK(parse_look(endless).directories.size() <= 64);
}

TEST_CASE("the text is a line a step, escaped, and the remedy below; the object has the same words") {
  Case sick;
  sick.way.journal->noise = "Hello \033[31mred\n\n";
  sick.reported("x86_64 dd - - /tmp")
      .fails(ErrorClass::kBootstrap, Phase::kShell, "no \033 directory", "mount it");
  const DoctorReport report = make_ladder(sick.seen);
  const std::string text = doctor_text(report);
  CHECK(text.starts_with("web1: fails at stage 0 (1.0 s)\n  settings  ok "));
  CHECK(text.find("\n  stage 0   FAILED               no \\x1b directory\n") != text.npos);
  CHECK(text.ends_with("\n  shutdown  not reached\n  -> mount it\n"));
  CHECK(text.find('\033') == text.npos);
  CHECK(std::ranges::count(text, '\n') == 14);

  const auto json = nlohmann::json::parse(doctor_json(report, false));
  CHECK(json["failed"] == "stage0");
  CHECK(json["class"] == "bootstrap");
  CHECK(json["well"] == false);
  CHECK(json["steps"].size() == 12);
  CHECK(json["steps"][5]["facts"]["noise_bytes"] == 15);
  CHECK(json["steps"][11]["state"] == "not_reached");
  CHECK(doctor_json(make_ladder(Case().fails(ErrorClass::kIo, Phase::kAuth, "\xff\xfe").seen), true)
            .find('\xff') == std::string::npos);
}
