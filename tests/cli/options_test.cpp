// Goal: a command line means what docs/cli.md says, and a slip is found before anything is contacted.
// Method: whole command lines; tables of slips with a piece of the complaint.
#include "cli/options.h"

#include <catch2/catch.hpp>
#include <set>
#include <sstream>

#include "cli/command_line.h"
#include "cli/help.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

using Words = std::vector<std::string>;

std::string complaint(const Words& words) {
  try {
    (void)parse_options(words);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a plain run has the usual settings") {
  Options options = parse_options({"run", "web1", "--", "uname", "-r"});
  CHECK(options.verb == Verb::kRun);
  CHECK(options.targets.one);
  CHECK(options.targets.targets.at(0).name == "web1");
  CHECK(options.command == Words{"uname", "-r"});
  CHECK_FALSE(options.shell);
  CHECK(options.fan_out == 64);
  CHECK(options.timeout == 0);
  CHECK(options.ssh.connect_timeout == 0);
  CHECK_FALSE(options.no_stdin);
  CHECK_FALSE(options.maximum);
  CHECK_FALSE(options.json);
  CHECK_FALSE(options.quiet);
  CHECK_FALSE(options.raw);
  CHECK(options.verbosity == 0);
  CHECK(options.color == Color::kAuto);
  CHECK(options.back_end == BackEndWish::kAuto);
  CHECK(options.ssh.family == AddressFamily::kAny);
  CHECK_FALSE(options.ssh.accept_new);
}

TEST_CASE("every option is taken, before the verb, between, and after the targets") {
  Options options = parse_options({"-v",           "--json",    "run",
                                   "-f",           "4",         "web[1-9]",
                                   "-n",           "-q",        "-vv",
                                   "-S",           "--raw",     "-x",
                                   "web2",         "-x",        "web[3-4],web5",
                                   "--timeout",    "5m",        "--connect-timeout=250ms",
                                   "-F",           "none",      "-l",
                                   "ann",          "--port",    "2222",
                                   "--identity",   "/dev/null", "--known-hosts",
                                   "/dev/null",    "--color",   "never",
                                   "-6",           "--ssh",     "auto",
                                   "--accept-new", "-J",        "ann@gw:22,[::1]",
                                   "--",           "true"});
  CHECK(options.verbosity == 3);
  CHECK(options.json);
  CHECK(options.fan_out == 4);
  CHECK(options.no_stdin);
  CHECK(options.quiet);
  CHECK(options.maximum);
  CHECK(options.raw);
  CHECK(options.targets.targets.size() == 5);
  CHECK(options.timeout == 300 * kSecond);
  CHECK(options.ssh.connect_timeout == 250 * kMillisecond);
  CHECK(options.ssh.config_file == "none");
  CHECK(options.ssh.user == "ann");
  CHECK(options.ssh.port == 2222);
  CHECK(options.ssh.jumps == "ann@gw:22,[::1]");
  CHECK(options.ssh.identity == "/dev/null");
  CHECK(options.ssh.known_hosts == "/dev/null");
  CHECK(options.color == Color::kNever);
  CHECK(options.ssh.family == AddressFamily::kIpv6);
  CHECK(options.ssh.accept_new);
  CHECK(options.back_end == BackEndWish::kAuto);
  CHECK(parse_options({"run", "web1", "-4", "--", "x"}).ssh.family == AddressFamily::kIpv4);
}

TEST_CASE("plan takes targets and what says how to reach them") {
  Options options = parse_options({"plan", "web[1-2]", "-l", "ann", "--json"});
  CHECK(options.verb == Verb::kPlan);
  CHECK(options.targets.targets.size() == 2);
  CHECK(options.ssh.user == "ann");
  CHECK(options.json);
  for (const char* verb : {"tree", "plan", "doctor"})
    CHECK(parse_options({verb, "web1", "-Jgw"}).ssh.jumps == "gw");
  CHECK(parse_options({"plan", "web1"}).ssh.jumps.empty());
  CHECK(parse_options({"help", "plan"}).help == help_text("plan"));
}

TEST_CASE("all after the first -- is the command, whatever it looks like") {
  CHECK(parse_options({"run", "web1", "--", "-v", "--", "--help", ""}).command ==
        Words{"-v", "--", "--help", ""});
  CHECK(parse_options({"run", "tree", "--", "run"}).targets.targets.at(0).name == "tree");
}

TEST_CASE("a shell line is one argument, and what follows -- are its own") {
  Options options = parse_options({"run", "web1", "--sh", "echo $1 | cat"});
  CHECK(options.shell);
  CHECK(options.command == Words{"echo $1 | cat"});
  CHECK(parse_options({"run", "web1", "--sh", "echo $1", "--", "a b"}).command ==
        Words{"echo $1", "sh", "a b"});
}

TEST_CASE("targets may come by -w or -H, and brackets are theirs") {
  CHECK(parse_options({"run", "-w", "web[1-2]", "--", "x"}).targets.targets.size() == 2);
  CHECK(parse_options({"run", "-H", "web1", "--", "x"}).targets.one);
  CHECK(parse_options({"run", "-w", "web1", "-H", "web[2-3],web4", "--", "x"}).targets.targets.size() == 4);
  CHECK_FALSE(parse_options({"run", "-w", "web1", "-w", "web1", "--", "x"}).targets.one);
  CHECK(parse_options({"run", "[::1]", "--", "x"}).targets.targets.at(0).host == "::1");
  CHECK(parse_options({"run", "[1-2]", "--", "x"}).targets.targets.size() == 2);
  CHECK(parse_options({"run", "n[1,3]", "-x", "n[3,4]", "--", "x"}).targets.targets.size() == 1);
}

TEST_CASE("the later of two wins, so that an alias can be overridden") {
  CHECK(parse_options({"run", "-f", "4", "web1", "-f", "8", "--", "x"}).fan_out == 8);
  CHECK(parse_options({"run", "--timeout", "4", "web1", "--timeout", "8", "--", "x"}).timeout == 8 * kSecond);
}

TEST_CASE("help and version are asked for in every usual way") {
  CHECK(parse_options({"--version"}).help == version_text());
  CHECK(parse_options({"--help"}).help == help_text(""));
  CHECK(parse_options({"help"}).help == help_text(""));
  CHECK(parse_options({"run", "--help"}).help == help_text("run"));
  CHECK(parse_options({"help", "help"}).help == help_text(""));
  CHECK(parse_options({"help", "tree"}).help == help_text("tree"));
  CHECK(parse_options({"-h", "run", "web1"}).help == help_text("run"));
  CHECK(parse_options({"--help"}).verb == Verb::kHelp);
}

TEST_CASE("the help of a verb lists the options that the verb takes, and no other") {
  for (const char* verb : {"run", "tree", "plan", "doctor"}) {
    std::set<std::string> taken, listed;
    for (const OptionRow& row : option_rows())
      for (std::string_view name : row.names)
        if (takes_option(verb, name)) taken.emplace(name);
    std::istringstream lines(help_text(verb));
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("  -")) continue;
      std::istringstream words(line.substr(0, 25));
      for (std::string word; words >> word && word.starts_with('-');)
        listed.insert(word.substr(0, word.find(',')));
    }
    CAPTURE(verb);
    CHECK(listed == taken);
  }
  CHECK(takes_option("run", "--fold"));
  CHECK(takes_option("tree", "-f"));
  CHECK_FALSE(takes_option("plan", "-f"));
}

TEST_CASE("an option of another verb is a slip, and the complaint names the verbs that take it") {
  struct {
    Words words;
    const char* complaint;
  } table[] = {
      {{"tree", "web1", "--sh", "x"}, "tree takes no --sh: that is for run (banyan tree --help)"},
      {{"tree", "web1", "--timeout", "3"}, "tree takes no --timeout: that is for run (banyan tree --help)"},
      {{"doctor", "web1", "--no-fold"}, "doctor takes no --no-fold: that is for run (banyan doctor --help)"},
      {{"-S", "plan", "web1"}, "plan takes no -S: that is for run (banyan plan --help)"},
      {{"tree", "-n", "web1"}, "tree takes no -n: that is for run (banyan tree --help)"},
      {{"doctor", "web1", "--raw"}, "doctor takes no --raw: that is for run (banyan doctor --help)"},
      {{"plan", "web1", "--fan-out", "3"},
       "plan takes no --fan-out: that is for run, tree and doctor (banyan plan --help)"},
      {{"plan", "web1", "-vv"}, "plan takes no -v: that is for run, tree and doctor (banyan plan --help)"},
      {{"plan", "web1", "--quiet"},
       "plan takes no --quiet: that is for run, tree and doctor (banyan plan --help)"},
      {{"plan", "web1", "-k"}, "plan takes no -k: that is for run, tree and doctor (banyan plan --help)"},
      {{"plan", "web1", "--connect-timeout", "3"},
       "plan takes no --connect-timeout: that is for run, tree and doctor (banyan plan --help)"},
  };
  for (const auto& row : table) CHECK(complaint(row.words) == row.complaint);
}

TEST_CASE("a slip in an option is one line of ours: what, the value, what is allowed, and whose help") {
  struct {
    Words words;
    const char* complaint;
  } table[] = {
      {{"run", "web1", "-f", "0", "--", "x"}, "-f 0: not a number from 1 to 10000 (banyan run --help)"},
      {{"run", "web1", "-f10001", "--", "x"}, "-f 10001: not a number from 1 to 10000 (banyan run --help)"},
      {{"tree", "web1", "--fan-out=many"},
       "--fan-out many: not a number from 1 to 10000 (banyan tree --help)"},
      {{"run", "web1", "-f", "4x", "--", "x"}, "-f 4x: not a number from 1 to 10000 (banyan run --help)"},
      {{"run", "web1", "-f", "-1", "--", "x"}, "-f -1: not a number from 1 to 10000 (banyan run --help)"},
      {{"plan", "web1", "--port", "65536"},
       "--port 65536: not a number from 1 to 65535 (banyan plan --help)"},
      {{"plan", "web1", "--port", "0"}, "--port 0: not a number from 1 to 65535 (banyan plan --help)"},
      {{"run", "web1", "--sh"}, "--sh: a value is missing: LINE (banyan run --help)"},
      {{"run", "web1", "--sh", "-n"}, "--sh: a value is missing: LINE (banyan run --help)"},
      {{"run", "web1", "--timeout", "--", "x"}, "--timeout: a value is missing: DUR (banyan run --help)"},
      {{"run", "-w", "--", "x"}, "-w: a value is missing: TARGETS (banyan run --help)"},
      {{"run", "web1", "--timeout", "soon", "--", "x"},
       "--timeout: 'soon' is not a duration: 30s, 5m, 250ms, 2h or a number of seconds (banyan run --help)"},
      {{"doctor", "web1", "--connect-timeout", "5y"},
       "--connect-timeout: '5y' is not a duration: 30s, 5m, 250ms, 2h or a number of seconds (banyan doctor "
       "--help)"},
      {{"run", "web1", "--color", "blue", "--", "x"},
       "--color blue: none of auto, always and never (banyan run --help)"},
      {{"plan", "web1", "--ssh", "putty"},
       "--ssh putty: none of auto, libssh2 and openssh (banyan plan --help)"},
      {{"run", "web1", "--json=yes", "--", "x"}, "--json=yes: --json has no value (banyan run --help)"},
      {{"run", "web1", "--bogus", "--", "x"}, "--bogus is not known to this version (banyan run --help)"},
      {{"run", "web1", "--bogus=3", "--", "x"}, "--bogus=3 is not known to this version (banyan run --help)"},
      {{"run", "web1", "-qZ", "--", "x"}, "-qZ is not known to this version (banyan run --help)"},
      {{"--bogus"}, "--bogus is not known to this version (banyan --help)"},
      {{"fly", "web1", "--bogus"},
       "'fly' is not a verb of this version: run, tree, plan, doctor, help (banyan --help)"},
      {{"run", "web1", "--color", "\x1b[2J", "--", "x"},
       "--color \\x1b[2J: none of auto, always and never (banyan run --help)"},
      {{"run", "web1", "--raw=\n", "--", "x"}, "--raw=\\n: --raw has no value (banyan run --help)"},
  };
  for (const auto& row : table) CHECK(complaint(row.words) == row.complaint);
}

TEST_CASE("help is given whatever else is wrong with the line") {
  CHECK(parse_options({"run", "--bogus", "--help"}).help == help_text("run"));
  CHECK(parse_options({"tree", "--sh", "-h"}).help == help_text("tree"));
}

TEST_CASE("short options may stand together, and have their value beside them or next") {
  const Options options = parse_options({"run", "-nqSvv", "-f9", "-wweb[1-2]", "-lann", "--", "x"});
  CHECK(options.no_stdin);
  CHECK(options.quiet);
  CHECK(options.maximum);
  CHECK(options.verbosity == 2);
  CHECK(options.fan_out == 9);
  CHECK(options.targets.targets.size() == 2);
  CHECK(options.ssh.user == "ann");
  CHECK(parse_options({"run", "web1", "--sh=-x=1"}).command == Words{"-x=1"});
  CHECK(parse_options({"run", "web1", "--fold", "--no-fold", "--", "x"}).fold == false);
  CHECK(parse_options({"run", "web1", "--no-fold", "--fold", "--", "x"}).fold == true);
  CHECK_FALSE(parse_options({"run", "web1", "--", "x"}).fold.has_value());
}

// A library may hold an empty value for none, and take the next word.
TEST_CASE("an empty value beside its option takes nothing from the words that follow") {
  CHECK(complaint({"run", "-w", "web1", "--sh=", "reboot"}).starts_with("targets stand after the verb"));
  CHECK(complaint({"run", "web1", "--sh="}).starts_with("--sh: the line is empty"));
  CHECK(complaint({"run", "web1", "--exclude=", "--", "x"}).starts_with("-x: no targets"));
}

TEST_CASE("a value may begin with a dash, unless it is an option itself") {
  CHECK(parse_options({"run", "web1", "--sh", "--x; ls"}).command == Words{"--x; ls"});
  CHECK(complaint({"run", "web1", "--sh", "-n"}).starts_with("--sh: a value is missing"));
}

TEST_CASE("a slip is an error that says what to write") {
  struct {
    Words words;
    const char* complaint;
  } table[] = {
      {{}, "no verb"},
      {{"fly", "web1"}, "'fly' is not a verb"},
      {{"help", "fly"}, "'fly' is not a verb"},
      {{"run"}, "no targets"},
      {{"run", "--", "true"}, "no targets"},
      {{"run", "web1"}, "no command"},
      {{"run", "web1", "--"}, "no command"},
      {{"run", "web1", "--", ""}, "name is empty"},
      {{"run", "web1", "uname"}, "before the command stands --"},
      {{"run", "web1", "uname", "-r"}, "before the command stands --"},
      {{"run", "web1", "--bogus", "--", "x"}, "--bogus is not known to this version"},
      {{"run", "local", "uname", "-a"}, "not expected: uname -a;"},
      {{"put", "web1", "./a", "/tmp"}, "'put' is not a verb"},
      {{"run", "-B", "web1", "--", "x"}, "-B is not known"},
      {{"run", "-i", "inv", "web1", "--", "x"}, "-i is not known"},
      {{"run", "web1", "--limit", "a", "--", "x"}, "--limit is not known"},
      {{"run", "web1", "-p", "22", "--", "x"}, "write --port"},
      {{"run", "web1", "--timeout", "", "--", "x"}, "'' is not a duration"},
      {{"run", "web1", "--connect-timeout", "", "--", "x"}, "'' is not a duration"},
      {{"run", "web1", "-x", "", "--", "x"}, "-x: no targets"},
      {{"run", "web1", "--sh", ""}, "the line is empty"},
      {{"run", "web1", "--timeout", "soon", "--", "x"}, "'soon' is not a duration"},
      {{"run", "web1", "--timeout", "0.0000000001", "--", "x"}, "'0.0000000001' is less than a nanosecond"},
      {{"run", "web1", "-l", "-oX", "--", "x"}, "begin"},
      {{"run", "web1", "-l", "a;b", "--", "x"}, "user 'a;b'"},
      {{"run", "web1", "-J", "-oProxyCommand=id", "--", "x"}, "-J '-oProxyCommand=id': write"},
      {{"tree", "web1", "-J", "gw;id"}, "-J 'gw;id': a host is made of"},
      {{"plan", "web1", "-J", ""}, "-J '': an empty name"},
      {{"doctor", "web1", "-J", "$(id)@gw"}, "user '$(id)'"},
      {{"run", "docker:app", "-J", "gw", "--", "x"}, "on this machine; on a host it is HOST/docker:app"},
      {{"run", "web1,local/web2", "-J", "gw", "--", "x"}, "'local/web2' is on this machine"},
      {{"run", "local", "-l", "bob", "--", "x"}, "-l is for hosts, and 'local' is on this machine"},
      {{"tree", "sudo:db,local", "--port", "22"}, "--port is for hosts, and 'sudo:db' is"},
      {{"plan", "nsenter:1", "--identity", "/dev/null"}, "--identity is for hosts"},
      {{"run", "web1", "--identity", "/nonexistent/key", "--", "x"}, "No such file"},
      {{"run", "web1", "--known-hosts", "/nonexistent/k", "--", "x"}, "No such file"},
      {{"run", "web1", "-F", "/nonexistent/c", "--", "x"}, "No such file"},
      {{"run", "web1", "--identity", "/a\"b", "--", "x"}, "cannot take such a file name"},
      {{"run", "web1", "-w", "web2", "--", "x"}, "not both"},
      {{"run", "web1\x1b[2J", "--", "x"}, "\\x1b"},
      {{"tree", "web1", "--", "x"}, "tree takes no command"},
      {{"doctor", "web1", "--", "x"}, "doctor takes no command"},
      {{"plan"}, "no targets"},
      {{"plan", "web1", "--", "x"}, "plan takes no command"},
      {{"plan", "web1", "-4", "-6"}, "not both"},
      {{"run", "web1", "--ssh", "libssh2", "--", "x"}, "banyan-connector is not there"},
  };
  for (const auto& row : table) {
    std::string line;
    for (const std::string& word : row.words) line += word + " ";
    CAPTURE(line);
    std::string said = complaint(row.words);
    CAPTURE(said);
    CHECK(said.find(row.complaint) != std::string::npos);
  }
}

TEST_CASE("durations have units, and seconds without") {
  CHECK(parse_duration("30s") == 30 * kSecond);
  CHECK(parse_duration("30") == 30 * kSecond);
  CHECK(parse_duration("5m") == 300 * kSecond);
  CHECK(parse_duration("2h") == 7200 * kSecond);
  CHECK(parse_duration("1d") == 86400 * kSecond);
  CHECK(parse_duration("250ms") == 250 * kMillisecond);
  CHECK(parse_duration("1.5") == 1500 * kMillisecond);
  CHECK(parse_duration("0") == 0);
  CHECK(parse_duration("0.000000001") == 1);
  for (const char* wrong : {"", "s", "-1", "5 m", "5min", "1e3", "inf", "nan", "999999d", "5m3s", "0x10"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(parse_duration(wrong), UsageError);
  }
}

TEST_CASE("--no-ask asks nothing, and not together with -k") {
  CHECK(parse_options({"run", "h", "--no-ask", "--", "true"}).no_ask);
  CHECK_FALSE(parse_options({"run", "h", "--", "true"}).no_ask);
  CHECK_THROWS_AS(parse_options({"run", "h", "--no-ask", "-k", "--", "true"}), UsageError);
}

TEST_CASE("-k asks for one password, where something is contacted") {
  CHECK_FALSE(parse_options({"run", "h", "--", "true"}).ask_password);
  CHECK(parse_options({"run", "h", "-k", "--", "true"}).ask_password);
  CHECK(parse_options({"tree", "h", "--ask-pass"}).ask_password);
}
