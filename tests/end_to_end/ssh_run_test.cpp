// Goal: `banyan run` on an SSH host keeps the promises it keeps on this machine.
// Method: the real program against a real server on the loopback interface (tests/support/sshd.h). A mark in
// the environment, which ssh and the server pass on, finds all that belongs to a run, on both sides.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <set>

#include "tests/end_to_end/ssh.h"

using namespace banyan::test;
using banyan::cat;

TEST_CASE("one SSH host is transparent: its bytes, its two outputs, its exit code") {
  if (!has_sshd()) return;
  const Sshd server;
  const Finished got = run_program(
      over(server, "web", {"--", "sh", "-c", "printf 'out\\0\\377no newline'; printf 'err\\n' >&2; exit 7"}));
  CHECK(got.code == 7);
  CHECK(got.out == std::string("out\0\377no newline", 15));
  CHECK(got.err == "err\n");
}

TEST_CASE("the default key exchange works as well") {
  if (!has_sshd()) return;
  const Sshd server({.client_lines = "KexAlgorithms +sntrup761x25519-sha512@openssh.com"});
  CHECK(run_program(over(server, "web", {"--", "echo", "here"})).out == "here\n");
}

TEST_CASE("how a command on an SSH host ended is told by the exit code and by events") {
  if (!has_sshd()) return;
  const Sshd server;
  struct {
    Words arguments;
    int code;
    const char* event;  // `exit` with this code or signal, or `fail` with this phase and class
    const char* what;
    const char* why = "";
    const char* started = "";
  } table[] = {
      {{"--", "true"}, 0, "exit", "0"},
      {{"--sh", "exit 3"}, 3, "exit", "3"},
      {{"--sh", "exit 255"}, 255, "exit", "255"},
      {{"--", "no-such-command"}, 127, "exit", "127"},
      {{"--", "/"}, 126, "exit", "126"},
      {{"--sh", "kill -KILL $$"}, 137, "exit", "SIGKILL"},
      {{"--timeout", "200ms", "--", "sleep", "60"}, 124, "fail", "command", "timeout", "yes"},
      {{"--port", "1", "--", "true"}, 255, "fail", "connect", "unreachable", "no"},
  };
  for (const auto& row : table) {
    Words arguments = over(server, "web", {"--json"});
    for (const std::string& word : row.arguments) arguments.push_back(word);
    std::string line;
    for (const std::string& word : row.arguments) line += word + " ";
    CAPTURE(line);
    const Finished got = run_program(arguments);
    CAPTURE(got.out, got.err);
    CHECK(got.code == row.code);
    CHECK(got.err == "");
    CHECK(got.seconds < 20);
    CHECK(the_event(got.out, "summary").value("exit_code", -1) == row.code);
    const bool reached = std::string_view(row.what) != "connect";
    CHECK(the_event(got.out, "start").is_null() == !reached);
    if (reached) CHECK(the_event(got.out, "start").value("transport", "") == "ssh");

    const nlohmann::json event = the_event(got.out, row.event);
    REQUIRE(event.is_object());
    CHECK(event.value("target", "") == "web");
    CHECK(event.at("seconds").is_number());
    if (std::string_view(row.event) == "exit") {
      CHECK((event["code"].is_null() ? event["signal"].get<std::string>()
                                     : std::to_string(event["code"].get<int>())) == row.what);
      CHECK(the_event(got.out, "fail").is_null());
    } else {
      CHECK(event["phase"] == row.what);
      CHECK(event["class"] == row.why);
      CHECK(event["started"] == row.started);
      CHECK_FALSE(event["error"].get<std::string>().empty());
      CHECK(event["remedy"].is_string() == !reached);
      CHECK(the_event(got.out, "exit").is_null());
    }
  }
}

TEST_CASE("3 MB of standard input arrive whole at an SSH host, from a pipe and from a file") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string bytes = random_bytes(3'000'000);
  const Finished piped = run_program(over(server, "web", {"--", "cat"}), bytes);
  CHECK(piped.code == 0);
  CHECK(piped.err == "");
  CHECK((piped.out == bytes));

  const std::string in = server.folder() + "/in", out = server.folder() + "/out";
  std::ofstream(in, std::ios::binary) << bytes;
  const std::string line = cat("exec '", std::string_view(BANYAN_PROGRAM), "' run -F '",
                               server.client_config(), "' web -- cat <'", in, "' >'", out, "'");
  CHECK(std::system(line.c_str()) == 0);
  CHECK((read_file(out) == bytes));
}

TEST_CASE("standard input is not touched with -n, and an SSH host's command then reads nothing") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string in = server.folder() + "/in", out = server.folder() + "/out";
  std::ofstream(in) << "first\nsecond\n";
  // As in a loop over lines, whose body must not eat the lines to come.
  const std::string line =
      cat("while read -r word; do '", std::string_view(BANYAN_PROGRAM), "' run -n -F '",
          server.client_config(), "' web --sh \"cat; echo $word\" || exit 9; done <'", in, "' >'", out, "'");
  CHECK(std::system(line.c_str()) == 0);
  CHECK(read_file(out) == "first\nsecond\n");
}

TEST_CASE("a hundred SSH targets each run the command once") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string mark = fresh_mark();
  const Finished got =
      run_program(over(server, "db[1-100]", {"--sh", "echo here; echo there >&2"}), {}, {mark});
  CAPTURE(got.err);
  CHECK(got.code == 0);
  CHECK(got.seconds < 60);
  std::multiset<std::string> expected_out, expected_err;
  for (int i = 1; i <= 100; ++i) {
    expected_out.insert(cat("db", i, ": here"));
    expected_err.insert(cat("db", i, ": there"));
  }
  const auto out = lines_of(got.out), err = lines_of(got.err);
  CHECK((std::multiset<std::string>(out.begin(), out.end()) == expected_out));
  CHECK((std::multiset<std::string>(err.begin(), err.end()) == expected_err));
  CHECK(all_gone(mark));
  std::printf("100 SSH targets on one machine: %.1f s\n", got.seconds);
}

TEST_CASE("a second Ctrl-C ends the command on the SSH host as well") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string mark = fresh_mark();
  Program program(
      over(server, "web", {"--sh", "trap '' INT HUP; (setsid sleep 300 &); echo up; sleep 300; sleep 300"}),
      Program::Shape::kPipes, {mark});
  REQUIRE(program.wait_for("up\n"));
  REQUIRE(marked(mark, "banyan-agent") > 0);
  program.signal(SIGINT);
  REQUIRE(program.wait_for("still running: web"));
  CHECK(marked(mark, "banyan-agent") > 0);
  const Stopwatch since;
  program.signal(SIGINT);
  const Finished got = program.finish();
  CHECK(got.code == 130);
  CHECK(contains(got.err, "cancelled"));
  CHECK(since.seconds() < 4);
  CHECK(processes_marked(mark).empty());
}

TEST_CASE(
    "a known host is sent everything at once, and a host that changed its architecture is asked again") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string cache = server.folder() + "/cache", file = cache + "/architectures",
                    said = server.folder() + "/said";
  std::ofstream(server.folder() + "/ssh")
      << "#!/bin/sh\nprintf '%s\\n' \"$*\" >>'" << said << "'\nexec /usr/bin/ssh \"$@\"\n";
  ::chmod((server.folder() + "/ssh").c_str(), 0755);
  // What stage 0 was told to expect each time stands in the command that ssh was given.
  const auto expectations = [&] {
    ::unlink(said.c_str());
    const std::string mark = fresh_mark();
    const Finished got = run_program(over(server, "web", {"--ssh", "openssh", "--", "echo", "here"}), {},
                                     {"BANYAN_CACHE=" + cache, "PATH=" + server.folder() + ":/usr/bin:/bin"});
    CHECK(got.code == 0);
    CHECK(got.out == "here\n");
    CHECK(got.err == "");
    Words found;
    const std::string text = read_file(said), before = "case $_r,$_m in";
    for (std::size_t at = text.find(before); at != text.npos; at = text.find(before, at + 1)) {
      const std::size_t begin = text.find_first_not_of(" \n;", at + before.size());
      found.push_back(text.substr(begin, text.find(')', begin) - begin));
    }
    return found;
  };
  CHECK(expectations() == Words{"*"});
  const std::string known = read_file(file);
  CHECK(lines_of(known).size() == 1);
  CHECK(known.starts_with("web "));

  const std::string architecture = known.substr(known.find('\t') + 1, known.size() - known.find('\t') - 2);
  CHECK(expectations() == Words{"dd," + architecture});

  // One we may carry an image for, and one nobody has.
  for (const std::string& wrong : {other_architecture(), std::string("pdp11")}) {
    std::ofstream(file) << known.substr(0, known.find('\t') + 1) << wrong << "\n";
    CHECK(expectations() == Words{"dd," + wrong, "*"});
    CHECK(read_file(file) == known);
  }
}

TEST_CASE("--connect-timeout bounds both tries of a host that was remembered wrongly") {
  if (!has_sshd()) return;
  const Sshd server({.server_lines = "ForceCommand sleep 2; eval \"$SSH_ORIGINAL_COMMAND\""});
  const std::string cache = server.folder() + "/cache";
  ::mkdir(cache.c_str(), 0700);
  std::ofstream(cache + "/architectures")
      << "web 0 " << server.client_config() << "\t" << other_architecture() << "\n";
  const Finished got = run_program(over(server, "web", {"--connect-timeout", "3s", "--json", "--", "true"}),
                                   {}, {"BANYAN_CACHE=" + cache});
  CAPTURE(got.out, got.err);
  CHECK(got.code == 255);
  CHECK(the_event(got.out, "fail")["class"] == "timeout");
  CHECK(got.seconds < 4.8);  // 5 when the second had a time of its own
}

TEST_CASE("the tree shows an SSH host beside a local context") {
  if (!has_sshd()) return;
  const Sshd server;
  const Finished got = run_program({"tree", "-F", server.client_config(), "local,web", "--json"});
  CAPTURE(got.out, got.err);
  CHECK(got.code == 0);
  std::map<std::string, std::string> methods;
  for (const nlohmann::json& event : events_of(got.out)) {
    if (event.contains("context")) methods[event.at("name")] = event.at("method");
  }
  CHECK(methods.size() == 3);
  CHECK(methods["local"] == "local");
  CHECK(methods["web"] == "ssh");
}

TEST_CASE("a terminal that the configuration forces on the connection changes no byte") {
  if (!has_sshd()) return;
  const Sshd server({.client_lines = "RequestTTY force"});
  const std::string bytes = random_bytes(300'000);
  for (const char* back_end : {"openssh", "libssh2"}) {
    const Finished got = run_program(over(server, "web", {"--ssh", back_end, "--", "cat"}), bytes);
    CAPTURE(back_end, got.err);
    CHECK(got.code == 0);
    CHECK((got.out == bytes));
  }
}

TEST_CASE("a configuration that wants no session and no input is overruled") {
  if (!has_sshd()) return;
  const Sshd server({.client_lines = "SessionType none\nStdinNull yes"});
  for (const char* back_end : {"openssh", "libssh2"}) {
    const Finished got = run_program(over(server, "web", {"--ssh", back_end, "--", "cat"}), "in\n");
    CAPTURE(back_end, got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "in\n");
  }
}

TEST_CASE("--known-hosts means that file also where a shared connection is there already") {
  if (!has_sshd()) return;
  const Sshd server, other;
  const std::string socket = server.folder() + "/shared";
  std::ofstream(server.folder() + "/shared_config") << "Host web\nControlMaster auto\nControlPath " << socket
                                                    << "\nInclude " << server.client_config() << "\n";
  const std::string config = server.folder() + "/shared_config";
  Program first({"run", "web", "-F", config, "--sh", "echo up; cat"});
  REQUIRE(first.wait_for("up\n"));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (::access(socket.c_str(), F_OK) != 0 && std::chrono::steady_clock::now() < deadline)
    ::poll(nullptr, 0, 5);
  REQUIRE(::access(socket.c_str(), F_OK) == 0);
  CHECK(run_program({"run", "web", "-F", config, "--", "true"}).code == 0);
  const Finished got =
      run_program({"run", "web", "-F", config, "--known-hosts", other.known_hosts(), "--", "true"});
  CAPTURE(got.err);
  CHECK(got.code == 255);
  CHECK(contains(got.err, "kex: "));
  CHECK(first.finish().code == 0);
}

TEST_CASE("dropbear serves as well as OpenSSH") {
  if (!has_dropbear() || !has_namespaces()) return;
  const Sshd server({.kind = Sshd::Kind::kDropbear, .accounts = {{"guest", "/bin/sh"}}});
  const std::string bytes = random_bytes(300'000);
  const Finished got = run_program(over(server, "guest@web", {"--sh", "cat; id -un >&2; exit 7"}), bytes);
  CHECK(got.code == 7);
  CHECK((got.out == bytes));
  CHECK(got.err == "guest\n");
}
