// Goal: every image works on the machine it is made for, from the first byte of its own loader to the last
// process. Method: a real shell on a machine that executes programs of the other architecture
// (tests/bootstrap/emulate/ and qemu); a parent that sends stage 0, asks the agent, runs a command there and
// ends it, as it does everywhere.
#include <elf.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <optional>

#include "core/info.h"
#include "core/text.h"
#include "parent/api/stage0.h"
#include "parent/command.h"
#include "tests/bootstrap/far_end.h"
#include "tests/support/not_tested.h"
#include "tests/support/processes.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// Everything is slower there, and other tests may run beside it.
constexpr Nanos kDeadline = 60 * kSecond;

struct Machine {
  std::string uname;  // what its uname -m says
  const char* qemu;
  int elf;
};
const std::vector<Machine> kMachines = {{"x86_64", "qemu-x86_64", EM_X86_64},
                                        {"aarch64", "qemu-aarch64", EM_AARCH64},
                                        {"armv7l", "qemu-arm", EM_ARM},
                                        {"armv8l", "qemu-arm", EM_ARM}};

// "": not installed.
std::string find_program(const std::string& name) {
  for (const char* folder : {"/usr/bin/", "/usr/local/bin/"})
    for (const char* ending : {"-static", ""})
      if (const std::string path = cat(folder, name, ending); ::access(path.c_str(), X_OK) == 0) return path;
  return "";
}

// Of another architecture than this machine's, with an image, and with an emulator to be had.
std::vector<Machine> foreign_machines() {
  std::vector<Machine> found;
  utsname here{};
  ::uname(&here);
  if (!std::filesystem::exists(BANYAN_EMULATE)) {
    not_tested("emulate", "programs of other machines are only executed on x86-64");
    return found;
  }
  for (const Machine& machine : kMachines) {
    if (machine.uname == here.machine || !embedded_images().find(machine.uname, ImageKind::kAgent)) continue;
    if (find_program(machine.qemu).empty())
      not_tested("qemu", cat("there is no ", machine.qemu));
    else
      found.push_back(machine);
  }
  return found;
}

// A login shell on such a machine, with stage 0 as its command.
Recipe recipe_for(const Machine& machine, const Folder& folder, bool is_known) {
  folder.write_script("uname", cat("#!/bin/sh\necho ", machine.uname, "\n"));
  Recipe recipe;
  recipe.name = recipe.method = "emulated";
  recipe.boot = Recipe::Boot::kStage0;
  recipe.nonce = nonce_of_test();
  if (is_known) recipe.architecture = machine.uname;
  recipe.argv = {BANYAN_EMULATE,
                 find_program(machine.qemu),
                 cat(machine.elf),
                 "/bin/sh",
                 "-c",
                 stage0_command(recipe.nonce, recipe.architecture)};
  recipe.environment = {{"PATH", cat(folder.path(), ":/usr/bin:/bin")},
                        {"XDG_RUNTIME_DIR", cat(folder.path(), "/runtime dir")}};
  recipe.deadlines.until_ready = recipe.deadlines.upload = recipe.deadlines.hello = kDeadline;
  return recipe;
}

// Waits as long as it takes there.
struct FarRoot : Root {
  ~FarRoot() { end_all(kDeadline); }

  void bring_up(Recipe recipe) {
    start(std::move(recipe));
    REQUIRE(run_until(
        loop, [&] { return told.up > 0; }, kDeadline));
  }
};

struct Ran {
  std::string out;
  std::optional<ExecOutcome> outcome;
};

Ran run(FarRoot& root, std::string line) {
  ExecRequest request;
  request.argv = {std::move(line)};
  request.shell = true;
  Ran ran;
  bool done = false;
  Command::Callbacks callbacks;
  callbacks.on_output = [&](bool, Bytes bytes, Charge) { ran.out.append(as_text(bytes)); };
  callbacks.on_done = [&](Result<ExecOutcome> outcome) {
    done = true;
    if (outcome)
      ran.outcome = *outcome;
    else
      root.told.error = outcome.error();
  };
  Command command(root.router, root.told.child->id, std::move(request), std::move(callbacks));
  REQUIRE(run_until(
      root.loop, [&] { return done; }, kDeadline));
  return ran;
}

}  // namespace

TEST_CASE(
    "every image for another machine comes up through its own loader, runs a command there, and is gone") {
  for (const Machine& machine : foreign_machines()) {
    for (const bool is_known : {false, true}) {
      CAPTURE(machine.uname, is_known);
      Folder folder;
      FarRoot root;
      root.bring_up(recipe_for(machine, folder, is_known));
      CAPTURE(root.told.error.text);
      REQUIRE(root.told.child.has_value());
      const pid_t pid = pid_t(root.told.child->hello.pid);

      // It is the emulated one, and says of itself what it is.
      std::error_code none;
      CHECK(std::filesystem::read_symlink(cat("/proc/", pid, "/exe"), none)
                .filename()
                .string()
                .starts_with(machine.qemu));
      CHECK(image_architecture(root.told.child->hello.architecture) == image_architecture(machine.uname));
      CHECK(root.told.child->hello.uid == ::getuid());

      std::optional<ContextInfo> info;
      root.router.call(root.told.child->id, kInfo, {}, [&](const Reply& reply) {
        if (auto read = ContextInfo::decode(reply.payload); !reply.dead && read) info = *read;
      });
      REQUIRE(run_until(
          root.loop, [&] { return info.has_value(); }, kDeadline));
      CHECK(info->pid == pid);
      CHECK(info->rss_kib > 0);

      const Ran ran = run(root, "echo $((6 * 7)); pwd; exit 7");
      REQUIRE(ran.outcome.has_value());
      CHECK(ran.out == cat("42\n", std::filesystem::current_path().string(), "\n"));
      CHECK(ran.outcome->code == 7);

      bool done = false;
      root.runner.shut_down(root.told.child->id, 2 * kSecond, [&] { done = true; });
      REQUIRE(run_until(
          root.loop, [&] { return done; }, kDeadline));
      CHECK_FALSE(is_running(pid));
      CHECK(folder.left_behind().empty());
    }
  }
}

TEST_CASE("an image of another machine moves much output and ends what it runs when it is told to") {
  for (const Machine& machine : foreign_machines()) {
    CAPTURE(machine.uname);
    Folder folder;
    FarRoot root;
    root.bring_up(recipe_for(machine, folder, false));
    CAPTURE(root.told.error.text);
    REQUIRE(root.told.child.has_value());

    const Ran much = run(root, "head -c 3000000 /dev/zero");
    CHECK(much.out.size() == 3'000'000);

    const std::string mark = cat("BANYAN_MARK=", hex64(nonce_of_test()));
    ExecRequest request;
    request.argv = {"sleep", "1000"};
    request.environment = {{"BANYAN_MARK", hex64(nonce_of_test())}};
    bool started = false;
    Command::Callbacks callbacks;
    callbacks.on_started = [&](const ExecStarted&) { started = true; };
    callbacks.on_done = [](Result<ExecOutcome>) {};
    const Command command(root.router, root.told.child->id, std::move(request), std::move(callbacks));
    REQUIRE(run_until(
        root.loop, [&] { return started; }, kDeadline));
    // Under an emulator vfork is fork: what was started may not have been executed yet.
    REQUIRE(run_until(
        root.loop, [&] { return !processes_marked(mark).empty(); }, kDeadline));

    bool done = false;
    root.runner.shut_down(root.told.child->id, 2 * kSecond, [&] { done = true; });
    REQUIRE(run_until(
        root.loop, [&] { return done; }, kDeadline));
    CHECK(processes_marked(mark).empty());
  }
}
