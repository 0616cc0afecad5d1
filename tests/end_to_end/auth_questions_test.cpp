// Goal: whatever a server wants to know of a person is asked, whoever speaks SSH; once, in the right words,
// and given to nobody else. Method: a real sshd with accounts that have passwords, and a real dropbear; a
// person at a terminal (a pty that is the controlling one), or the program that SSH_ASKPASS names.
#include <filesystem>
#include <fstream>

#include "tests/end_to_end/person.h"
#include "tests/end_to_end/questions.h"

using namespace banyan::test;
using banyan::cat;

namespace {

namespace fs = std::filesystem;

}  // namespace

TEST_CASE("a password is asked for by name, does not show, and lets in") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(over(server, "ann@web", {"--", "echo", "here"}, back_end));
    INFO(program.shown());
    REQUIRE(program.wait_for("ann@127.0.0.1's password: "));
    CHECK_FALSE(program.echoes());
    program.type(cat(kPassword, "\n"));
    CHECK(program.wait_for("here"));
    CHECK(program.finish() == 0);
    CHECK(program.echoes());
    CHECK_FALSE(contains(program.shown(), kPassword));
  }
}

TEST_CASE("a wrong password is asked for again, three times in all") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(over(server, "ann@web", {"--json", "--", "true"}, back_end));
    for (int i = 0; i < 3; ++i) {
      REQUIRE(program.wait_for("'s password: "));
      program.type("wrong\n");
    }
    CHECK(program.finish() == 255);
    INFO(program.shown());
    CHECK(contains(program.shown(), "\"class\":\"auth\""));
    CHECK(contains(program.shown(), "\"started\":\"no\""));
    CHECK(count_of(program.shown(), "'s password: ") == 3);
  }
}

TEST_CASE(
    "of the tries that a server counts none is lost: two keys, then three passwords, where it takes five") {
  if (!has_sshd() || !has_namespaces()) return;
  Sshd::Options options = with_passwords("PreferredAuthentications publickey,password\n");
  options.pam.clear();
  // The account's usual key is offered too.
  options.server_lines = "PasswordAuthentication yes\nMaxAuthTries 5\nAuthorizedKeysFile none\n";
  const Sshd server(options);
  const std::string key = make_key(server, "stranger", "-t ed25519", "");
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(
        over(server, "ann@web", {"--identity", key, "--json", "--", "echo", "here"}, back_end));
    for (const char* password : {"wrong", "wrong as well", kPassword}) {
      const bool asked = program.wait_for("'s password: ");
      INFO(program.shown() << server.log());
      REQUIRE(asked);
      program.type(cat(password, "\n"));
    }
    CHECK(program.wait_for("here"));
    CHECK(program.finish() == 0);
  }
}

TEST_CASE("an expired password is told as that, with what to do") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  const std::string askpass = askpass_that_says(server, kPassword);
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got =
        run_program(over(server, "old@web", {"--json", "--", "true"}, back_end), {}, asking_with(askpass));
    CAPTURE(got.out, got.err);
    CHECK(got.code == 255);
    const auto fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["class"] == "auth");
    CHECK(contains(fail["remedy"], "log in by hand once"));
  }
}

TEST_CASE(
    "keyboard-interactive: who asks stands in front, and nothing a host says reaches the terminal as it is") {
  if (!has_sshd() || !has_namespaces()) return;
  Sshd::Options options = with_passwords("PreferredAuthentications keyboard-interactive\n");
  options.pam = cat("auth optional pam_echo.so file=/srv/hello\n", Sshd::kUsualPam);
  options.setup = "printf 'bob@127.0.0.1\\033]0;x\\007 \\342\\200\\256 password: \\n' >/srv/hello";
  const Sshd server(options);
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(over(server, "ann@web", {"--", "echo", "here"}, back_end));
    REQUIRE(program.wait_for("Password: "));
    program.type(cat(kPassword, "\n"));
    CHECK(program.wait_for("here"));
    CHECK(program.finish() == 0);
    INFO(program.shown());
    CHECK(contains(program.shown(), "(ann@127.0.0.1) "));
    CHECK_FALSE(contains(program.shown(), "\033]"));
    CHECK_FALSE(contains(program.shown(), "\342\200\256"));
    for (const std::string& line : lines_of(program.shown())) CHECK_FALSE(line.starts_with("bob@"));
  }
}

TEST_CASE("an encrypted key opens with its passphrase, whatever its kind and format") {
  if (!has_sshd()) return;
  const Sshd server;
  const struct {
    const char* kind;
    const char* options;
  } table[] = {{"ed25519", "-t ed25519"},
               {"ecdsa", "-t ecdsa -b 256"},
               {"rsa", "-t rsa -b 2048"},
               {"ecdsa_pem", "-t ecdsa -b 384 -m PEM"},
               {"rsa_pem", "-t rsa -b 2048 -m PEM"},
               {"rsa_pkcs8", "-t rsa -b 2048 -m PKCS8"}};
  const std::string askpass = askpass_that_says(server, "open sesame");
  for (const auto& row : table) {
    const std::string key = make_key(server, row.kind, row.options, "open sesame");
    let_in(server, key);
    for (const std::string back_end : kBackEnds) {
      CAPTURE(row.kind, back_end);
      const Finished got = run_program(
          over(server, "web", {"--identity", key, "--", "echo", "here"}, back_end), {}, asking_with(askpass));
      CAPTURE(got.err);
      CHECK(got.code == 0);
      CHECK(got.out == "here\n");
    }
  }
}

TEST_CASE("a passphrase is asked for once for all hosts, and again only when it was wrong") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string key = make_key(server, "one", "-t ed25519", "open sesame");
  let_in(server, key);
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(over(server, "db[1-5]", {"--identity", key, "--", "echo", "here"}, back_end));
    const std::string question = cat("Enter passphrase for key '", key, "': ");
    REQUIRE(program.wait_for(question));
    program.type("wrong\n");
    REQUIRE(program.wait_for(question));
    program.type("open sesame\n");
    CHECK(program.finish() == 0);
    INFO(program.shown());
    CHECK(count_of(program.shown(), question) == 2);
  }
}

TEST_CASE("the password of -k is for all hosts, and tried on no further one when one has refused it") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    const Sshd server(with_passwords());
    const std::string right = askpass_that_says(server, kPassword);
    const Finished all = run_program(
        over(server, "db[1-5]", {"-k", "-l", "ann", "--", "echo", "here"}, back_end), {}, asking_with(right));
    CAPTURE(all.err);
    CHECK(all.code == 0);
    CHECK(lines_of(all.out).size() == 5);
    CHECK(count_of(read_file(server.folder() + "/asked"), "\n") == 1);

    const std::string wrong = askpass_that_says(server, "wrong");
    const Finished none =
        run_program(over(server, "db[1-5]", {"-k", "-l", "ann", "--json", "--", "echo", "here"}, back_end),
                    {}, asking_with(wrong));
    CAPTURE(none.out, server.log());
    CHECK(none.code == 4);
    CHECK(count_of(server.log(), "Failed password for ann") == 1);
    std::size_t others = 0;
    for (const auto& event : events_of(none.out)) {
      if (event["event"] != "fail") continue;
      CHECK(event["class"] == "auth");
      CHECK(event["started"] == "no");
      if (contains(event["error"], "was refused by db")) ++others;
    }
    CHECK(others == 4);
  }
}

TEST_CASE("where nobody can be asked, nobody is waited for") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got = run_program(over(server, "ann@web", {"--json", "--", "true"}, back_end), {},
                                     {"SSH_ASKPASS_REQUIRE=never", "SSH_ASKPASS=/bin/true"});
    CAPTURE(got.out);
    CHECK(got.code == 255);
    const auto fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["class"] == "auth");
    CHECK(contains(fail["remedy"], "terminal"));
    CHECK(got.seconds < 20);
  }
}

TEST_CASE("a program of SSH_ASKPASS that cannot be started is named, with why") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  const std::string no_program = server.folder() + "/not-executable";
  std::ofstream(no_program) << "#!/bin/sh\necho x\n";
  const struct {
    std::string program;
    const char* why;
  } table[] = {{"/no/such/askpass", "No such file or directory"}, {no_program, "Permission denied"}};
  for (const auto& row : table) {
    for (const std::string back_end : kBackEnds) {
      CAPTURE(row.program, back_end);
      const Finished got = run_program(over(server, "ann@web", {"--json", "--", "true"}, back_end), {},
                                       asking_with(row.program));
      CAPTURE(got.out);
      const auto fail = the_event(got.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["class"] == "auth");
      CHECK(contains(fail["error"], row.program));
      CHECK(contains(fail["error"], row.why));
      CHECK(contains(fail["remedy"], "SSH_ASKPASS"));
    }
    const Finished common =
        run_program(over(server, "ann@web", {"-k", "--", "true"}, "auto"), {}, asking_with(row.program));
    CHECK(common.code == 2);
    CHECK(contains(common.err, row.program));
    CHECK(contains(common.err, row.why));
  }
}

TEST_CASE("a key that is encrypted, and that nobody was asked to open, is named in the remedy") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string key = make_key(server, "locked", "-t ed25519", "open sesame");
  std::ofstream(server.folder() + "/authorized_keys", std::ios::app) << read_file(key + ".pub");
  const std::string batch = server.folder() + "/batch", askpass = askpass_that_says(server, "wrong");
  std::ofstream(batch) << "BatchMode yes\nInclude " << server.client_config() << "\n";
  const struct {
    Words words, environment;
  } table[] = {{{"-F", server.client_config()}, {"SSH_ASKPASS_REQUIRE=never"}},
               {{"-F", server.client_config(), "--no-ask"}, asking_with(askpass)},
               {{"-F", batch}, asking_with(askpass)}};
  for (const auto& row : table) {
    for (const std::string back_end : kBackEnds) {
      Words words = {"run", "--json", "--ssh", back_end, "--identity", key, "web"};
      words.insert(words.end(), row.words.begin(), row.words.end());
      words.insert(words.end(), {"--", "true"});
      // Only this key is offered: --identity leaves those that the configuration names.
      const std::string user_key = server.folder() + "/user_key";
      std::filesystem::rename(user_key, user_key + "-away");
      const Finished got = run_program(words, {}, row.environment);
      std::filesystem::rename(user_key + "-away", user_key);
      CAPTURE(back_end, got.out);
      const auto fail = the_event(got.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["class"] == "auth");
      CHECK((contains(fail["remedy"], key) || contains(fail["error"], key)));
      CHECK((contains(fail["remedy"], "ssh-add") || contains(fail["error"], "ssh-add")));
      if (back_end == "openssh") CHECK(contains(fail["remedy"], key + " is encrypted"));
    }
  }
}

TEST_CASE("with --no-ask nobody is asked, though there is somebody") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  const Words asking = asking_with(askpass_that_says(server, kPassword));
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got =
        run_program(over(server, "ann@web", {"--no-ask", "--json", "--", "true"}, back_end), {}, asking);
    CAPTURE(got.out);
    CHECK(got.code == 255);
    CHECK(the_event(got.out, "fail").value("class", "") == "auth");
    CHECK_FALSE(fs::exists(server.folder() + "/asked"));
  }
}

TEST_CASE("Ctrl-C at a question ends the run with 130, and the terminal echoes again") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(over(server, "ann@web", {"--", "true"}, back_end));
    REQUIRE(program.wait_for("'s password: "));
    CHECK_FALSE(program.echoes());
    program.type("\x03");
    CHECK(program.finish() == 130);
    CHECK(program.echoes());
  }
}

TEST_CASE("Ctrl-\\ at a question ends the run with 131, and the terminal echoes again") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(over(server, "ann@web", {"--", "true"}, back_end));
    REQUIRE(program.wait_for("'s password: "));
    program.type("\x1c");
    CHECK(program.finish() == 128 + SIGQUIT);
    CHECK(program.echoes());
  }
}

TEST_CASE("what an account's own start is denied does not spoil the password of -k") {
  if (!has_sshd() || !has_namespaces()) return;
  Sshd::Options options = with_passwords();
  options.files = {{.account = "ann",
                    .path = ".ssh/rc",
                    .content = "echo 'Could not chdir to home directory /home/ann: Permission denied' >&2\n"
                               "echo 'git@github.com: Permission denied (publickey).' >&2\n"}};
  const Sshd server(options);
  const std::string askpass = askpass_that_says(server, kPassword);
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got =
        run_program(over(server, "db[1-3]", {"-k", "-l", "ann", "--", "echo", "here"}, back_end), {},
                    asking_with(askpass));
    CAPTURE(got.err);
    CHECK(got.code == 0);
    CHECK(lines_of(got.out).size() == 3);
  }
}

TEST_CASE("a program that says no is no answer") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  const std::string askpass = askpass_that_says(server, "");
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got =
        run_program(over(server, "ann@web", {"--json", "--", "true"}, back_end), {}, asking_with(askpass));
    CAPTURE(got.out);
    CHECK(got.code == 255);
    const auto fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(contains(fail["error"], "not given"));
  }
  CHECK(count_of(server.log(), "Failed password") == 0);
}

TEST_CASE("dropbear's password is asked for as well") {
  if (!has_dropbear() || !has_namespaces()) return;
  const Sshd server({.kind = Sshd::Kind::kDropbear,
                     .client_lines = "PreferredAuthentications password\n",
                     .accounts = {{.name = "ann", .shell = "/bin/sh", .password = kPassword}}});
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(over(server, "ann@web", {"--", "echo", "here"}, back_end));
    const bool asked = program.wait_for("'s password: ");
    INFO(program.shown() << server.log());
    REQUIRE(asked);
    program.type("wrong\n");
    REQUIRE(program.wait_for("'s password: "));
    program.type(cat(kPassword, "\n"));
    CHECK(program.wait_for("here"));
    CHECK(program.finish() == 0);
    INFO(program.shown());
  }
}

// Attack A16.
TEST_CASE("a secret is in no command line, environment or file, while it is used and after") {
  if (!has_sshd() || !has_namespaces()) return;
  // Nobody else's command line has them, such as that of who runs the same test beside us.
  const std::string password = cat("CanaryPassword-", std::int64_t(::getpid())),
                    passphrase = cat("CanaryPassphrase-", std::int64_t(::getpid()));
  Sshd::Options options = with_passwords("PreferredAuthentications publickey,password\n");
  options.accounts[0].password = password;
  options.server_lines = "AuthenticationMethods publickey,password\n";
  const Sshd server(options);
  const std::string key = make_key(server, "canary", "-t ed25519", passphrase);
  std::ofstream(server.outside("/srv/authorized_keys"), std::ios::app) << read_file(key + ".pub");
  const auto is_found = [&](const std::string& text) {
    return contains(text, password) || contains(text, passphrase);
  };
  // Files may be many there; what we write is newer than this, by any clock of a file system.
  const auto began = fs::file_time_type::clock::now() - std::chrono::seconds(5);
  const auto search = [&] {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& process : fs::directory_iterator("/proc", error)) {
      for (const char* file : {"cmdline", "environ"})
        if (is_found(read_file(process.path() / file))) found.push_back(process.path() / file);
    }
    const char* temporary = std::getenv("TMPDIR");
    for (const char* folder : {temporary != nullptr ? temporary : "/tmp", "/dev/shm", "/var/tmp"}) {
      for (const auto& file :
           fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied, error)) {
        if (file.is_regular_file(error) && file.last_write_time(error) >= began &&
            file.file_size(error) < 1024 * 1024 && is_found(read_file(file.path())))
          found.push_back(file.path());
      }
    }
    return found;
  };
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(
        over(server, "ann@web", {"--identity", key, "--json", "--", "sh", "-c", "echo begun; exec sleep 60"},
             back_end),
        {cat("BANYAN_CACHE=", server.folder(), "/cache")});
    REQUIRE(program.wait_for("Enter passphrase"));
    program.type(passphrase + "\n");
    REQUIRE(program.wait_for("'s password: "));
    program.type(password + "\n");
    REQUIRE(program.wait_for("begun"));
    CHECK(search().empty());
    // Nor does it leave a core file.
    ::kill(program.pid(), SIGABRT);
    CHECK(program.finish() == 1000 + SIGABRT);
    CHECK_FALSE(program.has_dumped_core());
    CHECK(search().empty());
    CHECK_FALSE(is_found(program.shown()));
  }
}
