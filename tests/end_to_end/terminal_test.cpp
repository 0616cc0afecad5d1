// Goal: what a person sees of a run on a terminal, and what the keys do: folding, progress, Ctrl-C, Ctrl-Z
// and fg. Method: the real program on a terminal that controls it, below a shell; keys are typed as bytes.
#include "tests/end_to_end/terminal.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

using namespace banyan::test;
using banyan::cat;

namespace {

Words shell(const std::string& targets, const std::string& line, const Words& options = {}) {
  Words words = {"run", targets};
  words.insert(words.end(), options.begin(), options.end());
  words.insert(words.end(), {"--sh", line});
  return words;
}

bool matches(const std::string& line, const char* pattern) {
  return std::regex_match(line, std::regex(pattern));
}

// The terminal itself writes "^C" for the key, wherever it is just then.
Words without_echo(Words lines) {
  for (std::string& line : lines) {
    while (line.starts_with("^C")) line.erase(0, 2);
  }
  return lines;
}

// What stands between two carriage returns or newlines.
Words pieces(const std::string& shown) {
  Words all = {""};
  for (char c : shown) {
    if (c == '\r' || c == '\n') {
      all.emplace_back();
    } else {
      all.back() += c;
    }
  }
  return all;
}

std::size_t columns(const std::string& text) {
  return std::size_t(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// Says "odd" on one of the targets, and "usual" on the others.
struct OneDiffers {
  const std::string folder = cat(std::string_view(std::getenv("TMPDIR")), "/odd");
  const std::string line = cat("if mkdir '", folder, "' 2>/dev/null; then echo odd; else echo usual; fi");
  ~OneDiffers() { std::filesystem::remove(folder); }
};

std::vector<pid_t> agents_of(const std::string& mark, pid_t root) {
  std::vector<pid_t> agents;
  for (pid_t pid : processes_marked(mark)) {
    if (parent_of(pid) == root) agents.push_back(pid);
  }
  return agents;
}

}  // namespace

TEST_CASE("hosts that said the same are one line, who differs has a mark, failures and the summary follow") {
  const struct {
    const char* locale;
    const char* mark;
  } table[] = {{"C.UTF-8", "← differs"}, {"C", "<- differs"}};
  for (const auto& row : table) {
    OneDiffers differs;
    Terminal terminal(shell("local[1-5],127.0.0.1:1", differs.line), {.locale = row.locale});
    const Finished got = terminal.finish();
    const Words lines = terminal.screen();
    CAPTURE(got.out);
    CHECK(got.code == 4);
    REQUIRE(lines.size() == 4);
    CHECK(matches(lines[0], "local\\[[1-5,-]+\\] +\\(4\\)  usual"));
    CHECK(matches(lines[1], cat("local[1-5] +\\(1\\)  odd    ", row.mark).c_str()));
    CHECK(lines[2].starts_with("✗ 127.0.0.1:1  connect: "));
    CHECK(matches(lines[3], "5 ok · 1 unreachable · [0-9.]+s  \\[exit 4\\]"));
  }
}

TEST_CASE("a host that says something and does not end is seen line by line before it ends") {
  Terminal terminal(shell("local[1-2]", "echo first; read -r never; ", {"--timeout", "60s"}),
                    {.columns = 80});
  Terminal follow(shell("local[1-2]", "echo first; sleep 7; echo second; sleep 300"));
  REQUIRE(follow.wait_for("first"));
  for (int i = 0; i < 2; ++i) REQUIRE(follow.wait_for("second\r\n"));
  follow.type("\x03");
  REQUIRE(follow.wait_for("still running: local1 (command "));
  follow.type("\x03");
  const Finished got = follow.finish();
  CHECK(got.code == 130);
  const Words lines = without_echo(follow.screen());
  CAPTURE(got.out);
  for (const char* line : {"local1: first", "local2: first", "local1: second", "local2: second"})
    CHECK(std::ranges::count(lines, line) == 1);
  CHECK(std::ranges::count(lines, "✗ local[1-2] (2)  command: cancelled") == 1);
  // With nothing to read it ended at once, and was folded.
  CHECK(terminal.finish().code == 1);
  CHECK(terminal.screen()[0] == "local[1-2] (2)  first");
}

TEST_CASE("--fold folds into a pipe, --no-fold folds nowhere") {
  CHECK(run_program(shell("local[1-3]", "echo x; echo y >&2", {"--fold"})).out == "local[1-3] (3)  x\n");
  Terminal terminal(shell("local[1-2]", "echo x", {"--no-fold", "-q"}));
  terminal.finish();
  Words lines = terminal.screen();
  std::ranges::sort(lines);
  CHECK(lines == Words{"local1: x", "local2: x"});
  CHECK(contains(run_program(shell("local[1-2]", "echo x", {"--no-fold", "--fold"})).out,
                 "local[1-2] (2)  x\n"));
}

TEST_CASE(
    "progress is shown while a run goes on, and is gone before anything else is written and in the end") {
  Terminal terminal(shell("local[1-3]", "sleep 1; echo hi"));
  REQUIRE(terminal.wait_for("0/3 · 3 running · "));
  const Finished got = terminal.finish();
  CHECK(got.code == 0);
  const Words lines = terminal.screen();
  CAPTURE(got.out);
  REQUIRE(lines.size() == 2);
  CHECK(lines[0] == "local[1-3] (3)  hi");
  CHECK(matches(lines[1], "3 ok · [0-9.]+s"));
  // Ten times a second, and the first after a tenth.
  std::size_t drawn = 0;
  for (const std::string& piece : pieces(got.out)) drawn += contains(piece, "/3 · ") ? 1 : 0;
  CHECK(drawn >= 2);
  CHECK(double(drawn) <= got.seconds * 10 + 1);
  Terminal quiet(shell("local[1-3]", "sleep 0.5; echo hi", {"-q"}));
  CHECK(quiet.finish().out == "\x1b[36mlocal[1-3]\x1b[0m (3)  hi\r\n");
}

TEST_CASE("one target has progress while it says nothing, and none once it has begun a line") {
  Terminal terminal(shell("local", "sleep 2; printf 'a question? '; sleep 1; echo yes"));
  REQUIRE(terminal.wait_for("0/1 · 1 running · "));
  const Finished got = terminal.finish();
  CHECK(got.code == 0);
  CHECK(got.out.ends_with("\ra question? yes\r\n"));
  CHECK(terminal.screen() == Words{"a question? yes"});
}

TEST_CASE("progress is narrower than the terminal, also when that shrinks") {
  // Long enough: that nobody listens there is said after another try or two.
  Terminal terminal(shell("local[1-3],127.0.0.1:1", "sleep 6"), {.columns = 24});
  REQUIRE(terminal.wait_for("1/4 · 3 running"));
  terminal.resize(14);
  const Finished got = terminal.finish();
  CAPTURE(got.out);
  bool is_narrow = false;
  for (const std::string& piece : pieces(got.out)) {
    if (!contains(piece, "/4 · ")) continue;
    is_narrow |= piece == "1/4 · 3 run";
    CHECK(columns(piece) < (is_narrow ? 14 : 24));
  }
  CHECK(is_narrow);
}

TEST_CASE("NO_COLOR and --color never leave not one escape code on the terminal") {
  for (const Words& options : {Words{}, Words{"--color", "never"}}) {
    Terminal::Look look;
    if (options.empty()) look.environment = {"NO_COLOR=1"};
    Terminal terminal(shell("local[1-3],127.0.0.1:1", "sleep 0.5; echo hi; exit 3", options), look);
    const Finished got = terminal.finish();
    CHECK(contains(got.out, "local[1-3] (3)  hi"));
    CHECK_FALSE(contains(got.out, "\x1b"));
  }
}

TEST_CASE("Ctrl-C typed once says who runs, twice ends all, and no progress is left behind") {
  const std::string mark = fresh_mark();
  Terminal terminal(shell("local[1-3]", "trap '' INT; echo up; sleep 300"), {.environment = {mark}});
  REQUIRE(terminal.wait_for("3 running"));
  terminal.type("\x03");
  REQUIRE(terminal.wait_for("still running: local1 (command "));
  CHECK_FALSE(processes_marked(mark).empty());
  terminal.type("\x03");
  const Finished got = terminal.finish();
  CHECK(got.code == 130);
  CHECK(all_gone(mark));
  const Words lines = without_echo(terminal.screen());
  CAPTURE(got.out);
  REQUIRE(lines.size() == 4);
  CHECK(contains(lines[0], "still running: local1 (command "));
  CHECK(lines[1] == "local[1-3] (3)  up");
  CHECK(lines[2] == "✗ local[1-3] (3)  command: cancelled");
  CHECK(matches(lines[3], "0 ok · 3 cancelled · [0-9.]+s  \\[exit 130\\]"));
}

TEST_CASE("the third Ctrl-C leaves at once, and says what it leaves") {
  for (const bool json : {false, true}) {
    CAPTURE(json);
    const std::string mark = fresh_mark();
    Words options;
    if (json) options = {"--json"};
    Terminal terminal(shell("local[1-2]", "echo up; sleep 300", options), {.environment = {mark}});
    REQUIRE(terminal.wait_for(json ? "up\\n" : "2 running"));
    if (json) REQUIRE(terminal.wait_for("up\\n"));
    for (pid_t agent : agents_of(mark, terminal.pid())) ::kill(agent, SIGSTOP);  // so nothing ends
    terminal.type("\x03");
    REQUIRE(terminal.wait_for("still running: local1 "));
    terminal.type("\x03");
    // The second is obeyed before the third comes: the loop has no other way to tell.
    terminal.watch(std::chrono::milliseconds(300));
    const auto third = std::chrono::steady_clock::now();
    terminal.type("\x03");
    const Finished got = terminal.finish();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - third).count();
    for (pid_t pid : processes_marked(mark)) ::kill(pid, SIGCONT);
    CHECK(all_gone(mark));
    CAPTURE(got.out, seconds);
    CHECK(got.code == 130);
    CHECK(seconds < 1.5);
    const Words lines = without_echo(terminal.screen());
    if (!json) {
      CHECK(std::ranges::count(lines, "✗ local[1-2] (2)  command: left without waiting for its end") == 1);
      CHECK(matches(lines.back(), "0 ok · 2 cancelled · [0-9.]+s  \\[exit 130\\]"));
      continue;
    }
    int fails = 0;
    for (const std::string& line : lines) {
      if (!line.starts_with('{')) continue;
      const nlohmann::json event = nlohmann::json::parse(line);
      if (event["event"] == "fail") {
        ++fails;
        CHECK(event["class"] == "cancelled");
        CHECK(event["started"] == "unknown");
      }
      if (&line == &lines.back()) {
        CHECK(event["event"] == "summary");
        CHECK(event["cancelled"] == 2);
        CHECK(event["exit_code"] == 130);
      }
    }
    CHECK(fails == 2);
  }
}

TEST_CASE("the third Ctrl-C shows what was held to be folded") {
  const std::string mark = fresh_mark();
  Program program(
      {"run", "local[1-2]", "--fold", "--sh", "echo up; printf half; echo half >&2; exec sleep 300"},
      Program::Shape::kPipes, {mark});
  // What is held is not seen; but it came before this.
  REQUIRE(program.wait_for("local1: half\n"));
  REQUIRE(program.wait_for("local2: half\n"));
  for (pid_t agent : agents_of(mark, program.pid())) ::kill(agent, SIGSTOP);  // so nothing ends
  program.signal(SIGINT);
  REQUIRE(program.wait_for("still running: "));
  for (int i = 0; i < 2; ++i) {
    program.signal(SIGINT);
    ::poll(nullptr, 0, 300);  // the second is obeyed before the third comes: nothing else tells
  }
  const Finished got = program.finish();
  for (pid_t pid : processes_marked(mark)) ::kill(pid, SIGCONT);
  CHECK(all_gone(mark));
  CAPTURE(got.err);
  CHECK(got.code == 130);
  CHECK(got.out == "local[1-2] (2)\n  up\n  half\n");
  CHECK(contains(got.err, "local[1-2] (2)  command: left without waiting for its end\n"));
}

TEST_CASE("the third Ctrl-C waits for no reader") {
  const std::string mark = fresh_mark();
  Program program({"run", "local[1-20]", "--json", "--", "yes"}, Program::Shape::kPipes, {mark});
  REQUIRE(program.wait_for("y\\n"));
  REQUIRE(program.wait_for_unread(32'000));
  program.signal(SIGINT);
  REQUIRE(program.wait_for_error("still running"));
  for (int i = 0; i < 2; ++i) {
    program.signal(SIGINT);
    ::poll(nullptr, 0, 100);
  }
  const auto third = std::chrono::steady_clock::now();
  CHECK(program.wait_for_exit_unread());
  CHECK(std::chrono::steady_clock::now() - third < std::chrono::milliseconds(1'500));
  CHECK(program.finish().code == 130);
  CHECK(all_gone(mark));
}

TEST_CASE(
    "Ctrl-Z stops the program for longer than silence may last, and fg goes on as if nothing had been") {
  constexpr std::chrono::seconds kStopped{23};  // a child judges its parent after 20
  const std::string mark = fresh_mark();
  Terminal terminal(shell("local[1-2]", "sleep 2; echo up; sleep 25; echo done"), {.environment = {mark}});
  REQUIRE(terminal.wait_for("2 running"));
  const std::vector<pid_t> agents = agents_of(mark, terminal.pid());
  REQUIRE(agents.size() == 2);
  terminal.type("\x1a");
  REQUIRE(terminal.wait_stopped());
  CHECK(stat_field(terminal.pid(), 0) == "T");
  CHECK_FALSE(contains(terminal.screen().empty() ? "" : terminal.screen().back(), "running"));
  const std::size_t before = terminal.shown().size();
  terminal.watch(kStopped);
  CHECK(terminal.shown().size() == before);
  for (pid_t agent : agents) CHECK(is_running(agent));
  terminal.foreground();
  REQUIRE(terminal.wait_for("2 running"));
  // A second time, so that the first has left nothing undone.
  terminal.type("\x1a");
  REQUIRE(terminal.wait_stopped());
  terminal.foreground();
  const Finished got = terminal.finish();
  CAPTURE(got.out);
  CHECK(got.code == 0);
  CHECK(matches(terminal.screen().back(), "2 ok · [0-9.]+s"));
  CHECK(contains(got.out, "done"));
  CHECK(all_gone(mark));
}

// Attack A24. Each barrier by itself: either would do, and another that holds must not hide that one is gone.
TEST_CASE("nobody between us and a command has our terminal: not by his session, nor by a descriptor") {
  const std::string mark = fresh_mark();
  Terminal terminal(shell("local", "echo up; sleep 300; exit"), {.environment = {mark}});
  REQUIRE(terminal.wait_for("up"));
  const auto late = std::chrono::steady_clock::now() + kProgramDeadline;
  // Until the command has become what it is to be: before, it is called as its shell.
  const auto has_started = [&] {
    for (const pid_t pid : processes_marked(mark))
      if (read_file(cat("/proc/", pid, "/comm")) == "sleep\n") return true;
    return false;
  };
  while (!has_started() && std::chrono::steady_clock::now() < late) ::poll(nullptr, 0, 5);
  const std::string own_session = stat_field(terminal.pid(), 3);
  REQUIRE(stat_field(terminal.pid(), 4) != "0");  // ours is one
  std::map<std::string, std::string> sessions;    // by the process's name
  for (const pid_t pid : processes_marked(mark)) {
    if (pid == terminal.pid()) continue;  // the fifth
    const std::string name = read_file(cat("/proc/", pid, "/comm"));
    CAPTURE(name);
    sessions[name] = stat_field(pid, 3);
    CHECK(sessions[name] != own_session);
    CHECK(stat_field(pid, 4) == "0");  // the session's terminal
    for (const auto& fd : std::filesystem::directory_iterator(cat("/proc/", pid, "/fd"))) {
      std::error_code gone;
      const std::string where = std::filesystem::read_symlink(fd, gone);
      CAPTURE(where);
      CHECK_FALSE(where.starts_with("/dev/pts/"));
      CHECK_FALSE(where.starts_with("/dev/tty"));
    }
  }
  REQUIRE(sessions.size() == 4);
  // The context keeps away from our terminal by itself, so does a command's guard from the context's, and the
  // command from the guard's.
  CHECK(sessions["banyan-guard\n"] != sessions["banyan-agent\n"]);
  CHECK(sessions["sh\n"] != sessions["banyan-guard\n"]);
  CHECK(sessions["sleep\n"] == sessions["sh\n"]);
  terminal.type("\x03");
  REQUIRE(terminal.wait_for("still running"));
  terminal.type("\x03");
  CHECK(terminal.finish().code == 130);
  CHECK(all_gone(mark));
}

TEST_CASE("a command has no way to the operator's terminal") {
  Terminal terminal(shell("local",
                          "(: </dev/tty) 2>&1 | sed 's/.*: //'; "
                          "cut -d' ' -f7 /proc/self/stat; ls -l /proc/self/fd | grep -c pts/"));
  const Finished got = terminal.finish();
  CHECK(contains(got.out, "No such device or address\r\n0\r\n0\r\n"));
}
