// Goal: an answer of ssh's is used again exactly as long as nothing it depends on has changed.
// Method: what ssh -v says about made-up files; files of the test's own that are changed one way each;
// damage.
#include "transports/ssh_answers.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/text.h"

using namespace banyan;
namespace fs = std::filesystem;

namespace {

using Names = std::vector<std::string>;

// Files whose times we set back, as if they had been there for long.
class Folder {
 public:
  Folder() {
    const char* base = std::getenv("TMPDIR");
    path_ = cat(base == nullptr ? "/tmp" : base, "/answers.XXXXXX");
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(std::string_view name) const { return cat(path_, "/", name); }
  void write(std::string_view name, std::string_view text) const { std::ofstream(*this / name) << text; }
  std::string text(std::string_view name) const {
    std::ifstream file(*this / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::string path_;
};

LocalUser somebody(const Folder& folder) {
  LocalUser local;
  local.name = "jane";
  local.home = folder / "home";
  local.host = "desk";
  return local;
}

// Long after now, so that what the test has just made is settled.
std::int64_t later() {
  return ::time(nullptr) + 1'000;
}

// A program in ssh's place, a configuration that includes others, and what ssh -v says about them.
struct Setup {
  Setup() {
    folder.write("ssh", "#!/bin/sh\n");
    fs::create_directories(folder / "conf.d");
    folder.write("config", cat("Include ", folder / "conf.d/*.conf\n", "Host web\n  Port 22\n"));
    folder.write("conf.d/a.conf", "Host db\n");
    said = cat("OpenSSH_9.2\ndebug1: Reading configuration data ", folder / "config", "\r\n",
               "debug1: Reading configuration data ", folder / "conf.d/a.conf", "\n",
               "debug1: ", folder / "config", " line 3: include ", folder / "missing", " matched no files\n");
    question = {folder / "ssh", "-G", "-F", folder / "config", "--", "web"};
  }
  void learn() const {
    SshAnswers answers(folder / "cache", somebody(folder));
    answers.learn(question, "hostname web\nport 22\n", said, later());
    answers.save();
  }
  std::optional<std::string> find() const {
    return SshAnswers(folder / "cache", somebody(folder)).find(question);
  }
  Folder folder;
  std::string said;
  Names question;
};

std::optional<Names> dependencies(std::string_view said, const std::string& config = "Host web\n") {
  return dependencies_of_answer(said, {"/home/jane/.ssh/config", "/etc/ssh/ssh_config"}, "/home/jane",
                                [&](const std::string&) { return config; });
}

}  // namespace

TEST_CASE("an answer depends on what was read, what was looked for, and where") {
  CHECK(dependencies("") == Names{"/home/jane/.ssh/config", "/etc/ssh/ssh_config"});
  CHECK(dependencies("debug1: Reading configuration data /etc/ssh/ssh_config\n"
                     "debug1: Reading configuration data /etc/ssh/more/one\n"
                     "debug1: /etc/ssh/ssh_config line 19: include /etc/ssh/none.d/*.conf matched no files\n"
                     "debug1: /etc/ssh/ssh_config line 20: include ~/.ssh/mine matched no files\n"
                     "debug1: /etc/ssh/ssh_config line 21: Applying options for *\n") ==
        Names{"/home/jane/.ssh/config", "/etc/ssh/ssh_config", "/etc/ssh/more", "/etc/ssh/more/one",
              "/etc/ssh/none.d", "/home/jane/.ssh/mine"});
}

TEST_CASE("an answer that depends on more than files is not kept") {
  const char* reading = "debug1: Reading configuration data /etc/ssh/ssh_config\n";
  CHECK(dependencies(reading, "# Match exec \"x\"\nHost web\n  # ${HOME}\n"));
  for (const char* config :
       {"Match exec \"test -f x\"\n", "match !EXEC \"x\"\n", "Match localnetwork 10.0.0.0/8\n",
        "Match canonical\n", "CanonicalizeHostname yes\n", "IdentityFile ${KEYS}/id\n",
        "IdentityAgent $SOCK\n", "Include /etc/*/ssh.conf\n", "  include=/a/?/b\n",
        "Include \"/x/[ab]/c\"\n"}) {
    CAPTURE(config);
    CHECK_FALSE(dependencies(reading, config));
  }
  CHECK_FALSE(dependencies("debug1: Reading configuration data relative\n"));
  CHECK_FALSE(dependencies("debug1: x line 1: include /a/*/b* matched no files\n"));
  CHECK_FALSE(dependencies("debug1: x line 1: include ~bob/b matched no files\n"));
}

TEST_CASE("an answer is kept for the next run, and for its own question only") {
  const Setup setup;
  CHECK_FALSE(setup.find());
  setup.learn();
  CHECK(setup.find() == "hostname web\nport 22\n");
  SshAnswers answers(setup.folder / "cache", somebody(setup.folder));
  Names other = setup.question;
  other.back() = "db";
  CHECK_FALSE(answers.find(other));
  Names on_another_way = setup.question;
  on_another_way.insert(on_another_way.end() - 2, {"-J", "gw"});
  CHECK_FALSE(answers.find(on_another_way));
  CHECK_FALSE(answers.find({}));
  LocalUser moved = somebody(setup.folder);
  moved.host = "elsewhere";
  CHECK_FALSE(SshAnswers(setup.folder / "cache", moved).find(setup.question));
  CHECK_FALSE(SshAnswers("", somebody(setup.folder)).find(setup.question));
}

TEST_CASE("whatever of its files changes, the answer is asked for anew") {
  struct {
    const char* what;
    void (*change)(const Folder&);
  } table[] = {
      {"the configuration", [](const Folder& f) { f.write("config", "Host web\n  Port 23\n"); }},
      {"the same length", [](const Folder& f) { f.write("conf.d/a.conf", "Host dc\n"); }},
      {"gone", [](const Folder& f) { ::unlink((f / "conf.d/a.conf").c_str()); }},
      {"another file in its place",
       [](const Folder& f) {
         f.write("new", "Host db\n");
         ::rename((f / "new").c_str(), (f / "conf.d/a.conf").c_str());
       }},
      {"one more to include", [](const Folder& f) { f.write("conf.d/b.conf", "Host web\n  Port 24\n"); }},
      {"one that was missed", [](const Folder& f) { f.write("missing", ""); }},
      {"rights", [](const Folder& f) { ::chmod((f / "config").c_str(), 0666); }},
      {"the program", [](const Folder& f) { f.write("ssh", "#!/bin/bash\n"); }},
  };
  for (const auto& row : table) {
    CAPTURE(row.what);
    const Setup setup;
    setup.learn();
    REQUIRE(setup.find());
    row.change(setup.folder);
    CHECK_FALSE(setup.find());
  }
}

TEST_CASE("what changed just before the question is not trusted to have settled") {
  const Setup setup;
  SshAnswers answers(setup.folder / "cache", somebody(setup.folder));
  answers.learn(setup.question, "hostname web\n", setup.said, ::time(nullptr));
  answers.save();
  CHECK_FALSE(setup.find());
}

TEST_CASE("a relative configuration file and strange names are not kept") {
  const Setup setup;
  SshAnswers answers(setup.folder / "cache", somebody(setup.folder));
  Names relative = setup.question;
  relative[3] = "config";
  answers.learn(relative, "hostname web\n", "", later());
  Names strange = setup.question;
  strange.back() = "a\tb";
  answers.learn(strange, "hostname web\n", setup.said, later());
  answers.save();
  CHECK_FALSE(fs::exists(setup.folder / "cache/ssh_settings"));
}

TEST_CASE("programs add to each other's answers") {
  const Setup setup;
  Names other = setup.question;
  other.back() = "db";
  SshAnswers first(setup.folder / "cache", somebody(setup.folder));
  SshAnswers second(setup.folder / "cache", somebody(setup.folder));
  first.learn(setup.question, "hostname web\nport 22\n", setup.said, later());
  second.learn(other, "hostname db\nport 22\n", setup.said, later());
  first.save();
  second.save();
  SshAnswers third(setup.folder / "cache", somebody(setup.folder));
  CHECK(third.find(setup.question) == "hostname web\nport 22\n");
  CHECK(third.find(other) == "hostname db\nport 22\n");
}

TEST_CASE("a damaged file gives whole answers or none") {
  const Setup setup;
  setup.learn();
  const std::string name = "cache/ssh_settings", whole = setup.folder.text(name);
  REQUIRE(whole.size() > 100);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    setup.folder.write(name, whole.substr(0, length));
    const auto found = setup.find();
    CHECK((!found || *found == "hostname web\nport 22\n"));
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bad = whole;
    bad[at] = '9';
    setup.folder.write(name, bad);
    (void)setup.find();
  }
  // Not ours alone.
  setup.folder.write(name, whole);
  REQUIRE(setup.find());
  ::chmod((setup.folder / name).c_str(), 0666);
  CHECK_FALSE(setup.find());
}
