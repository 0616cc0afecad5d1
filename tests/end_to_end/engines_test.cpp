// Goal: what container_test shows with rooms of its own, and with scripts in the engines' place, is so with
// the real docker, podman and lxc: what we run in their containers has what a command of their own exec has
// there, neither more nor less; their exec is used where they must look somebody up; what they say when they
// fail is understood; and nothing is left in there. Method: the engines on a machine of a chain (engines.h),
// from there and over ssh. lxd and incus, kubectl and nspawn cannot run on a machine for tests (a daemon from
// elsewhere, a cluster, systemd as the first process): of those container_test has what can be had.
#include <algorithm>
#include <filesystem>
#include <set>

#include "tests/end_to_end/engines.h"

using namespace banyan::test;
using banyan::cat;

namespace {

constexpr const char *kDocker = "$docker_run --name app ", *kPodman = "$podman_run --name app ";
constexpr const char *kOfDocker = " busybox sleep 100000", *kOfPodman = " --rootfs $root sleep 100000";
constexpr const char* kLxc = "lxc-start -n app";

// A container, and how its engine runs something in it.
struct Row {
  std::string target, start, exec, remove;
};

std::vector<Row> rows() {
  std::vector<Row> all;
  for (const char* options :
       {"", "--read-only --cap-drop=all --security-opt=no-new-privileges",
        "--ulimit=nofile=100:200 --ulimit=nproc=300:400 --oom-score-adj=500",
        "--user=24001:24001 --workdir=/work --env=WHO=app",
        "--cap-add=sys_ptrace --security-opt=seccomp=unconfined --group-add=4242 --group-add=77"}) {
    all.push_back({"docker:app", cat(kDocker, options, kOfDocker), "docker exec -i app", "docker rm -f app"});
    all.push_back(
        {"podman:app", cat(kPodman, options, kOfPodman), "podman exec -i app", "podman rm -f -t 0 app"});
  }
  all.push_back({"lxc:app", kLxc, "lxc-attach -n app --clear-env --", "lxc-stop -k -n app"});
  return all;
}

// Who a process is and what it may, of its /proc/PID/status. Whether its group is among its other groups too
// makes no difference, and engines differ in it.
std::string rights(const std::string& status) {
  std::string found, group;
  for (const std::string& line : lines_of(status)) {
    for (const char* name : {"Uid:", "Gid:", "Cap", "NoNewPrivs:", "Seccomp"})
      if (line.starts_with(name)) found += line + '\n';
    std::istringstream words(line);
    std::string name, one;
    words >> name;
    if (name == "Gid:") words >> group;
    if (name != "Groups:") continue;
    std::set<std::string> groups = {group};
    while (words >> one) groups.insert(one);
    for (const std::string& each : groups) found += cat("in group ", each, "\n");
  }
  return found;
}

// The parts of what kTellAll prints.
std::vector<std::string> parts(const std::string& text) {
  std::vector<std::string> found(1);
  for (const std::string& line : lines_of(text)) {
    if (line == "--")
      found.emplace_back();
    else
      found.back() += line + '\n';
  }
  return found;
}
constexpr const char* kTellAll =
    "cat /proc/self/status; echo --; cat /proc/self/cgroup; echo --; env; echo --; pwd; "
    "cat /proc/self/limits /proc/self/oom_score_adj; "
    "for kind in mnt pid uts ipc net cgroup user; do readlink /proc/self/ns/$kind; done";

std::set<std::string> sorted(const std::string& text) {
  const Words lines = lines_of(text);
  return {lines.begin(), lines.end()};
}

// How many processes are in the container that is called app, after a while that what ends there may take.
std::size_t left_in(RealEngines& engines, const std::string& engine) {
  const std::string leader =
      engine == "lxc" ? "lxc-info -n app -p -H" : cat(engine, " inspect --format {{.State.Pid}} app");
  const std::string space = engines.on_a(cat("readlink /proc/$(", leader, ")/ns/pid"));
  const auto count = [&] {
    std::size_t found = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
      const std::string theirs = std::filesystem::read_symlink(entry.path() / "ns/pid", error).string();
      if (!error && theirs + '\n' == space) ++found;
    }
    return found;
  };
  const Stopwatch since;
  while (count() > 1 && since.seconds() < 10 + kSmallSlack) ::poll(nullptr, 0, 10);
  return count();
}

}  // namespace

TEST_CASE("what runs in a container has what a command of its engine's own exec has there") {
  if (!has_engines()) return;
  RealEngines engines;
  for (const Row& row : rows()) {
    CAPTURE(row.start);
    engines.on_a(row.start);
    const Finished got = engines.run_on_a({"run", row.target, "--", "sh", "-c", kTellAll});
    CAPTURE(got.err);
    CHECK(got.code == 0);
    const auto ours = parts(got.out), theirs = parts(engines.on_a(cat(row.exec, " sh -c '", kTellAll, "'")));
    REQUIRE(ours.size() == 4);
    REQUIRE(theirs.size() == 4);
    CHECK(contains(ours[0], "CapBnd:"));
    CHECK(rights(ours[0]) == rights(theirs[0]));
    // lxc has one beneath its container's, for whoever comes later.
    if (row.target != "lxc:app") CHECK(ours[1] == theirs[1]);
    // The first process's, which with podman also has the name of the host.
    const std::set<std::string> variables = sorted(ours[2]), needed = sorted(theirs[2]);
    CAPTURE(ours[2], theirs[2]);
    CHECK(std::ranges::includes(variables, needed));
    CHECK(variables.size() <= needed.size() + 1);
    CHECK(ours[3] == theirs[3]);
    CHECK(left_in(engines, row.target.substr(0, row.target.find(':'))) == 1);
    engines.on_a(row.remove);
  }
}

TEST_CASE("a user who has a name in the container is looked up by the engine's exec") {
  if (!has_engines()) return;
  RealEngines engines;
  const std::string line = "id -u; id -g; cat; exit 7";
  for (const auto& [engine, start, image] :
       {std::tuple("docker", kDocker, kOfDocker), std::tuple("podman", kPodman, kOfPodman)}) {
    engines.on_a(cat(start, image));
    const Finished asked = engines.run_on_a({"run", cat(engine, ":ann@app"), "--sh", line}, "given\n");
    CAPTURE(engine, asked.err);
    CHECK(asked.out == "24001\n24001\ngiven\n");
    CHECK(asked.code == 7);
    const Finished doctor = engines.run_on_a({"doctor", cat(engine, ":ann@app")});
    CAPTURE(doctor.out);
    CHECK(contains(doctor.out, cat("into app as ann, by the exec of ", engine)));
    CHECK(left_in(engines, engine) == 1);
    engines.on_a(cat(engine, " rm -f -t 0 app 2>/dev/null || ", engine, " rm -f app"));

    engines.on_a(cat(start, "--user=ann", image));
    const Finished given = engines.run_on_a({"run", cat(engine, ":app"), "--sh", line}, "given\n");
    CAPTURE(given.err);
    CHECK(given.out == "24001\n24001\ngiven\n");
    CHECK(given.code == 7);
    CHECK(left_in(engines, engine) == 1);
  }
}

TEST_CASE("where lxc does not say who leads a container its own program attaches") {
  if (!has_engines()) return;
  RealEngines engines;
  engines.on_a(cat(kLxc,
                   "\nmkdir /opt/blind\nprintf '#!/bin/sh\\nexit 1\\n' >/opt/blind/lxc-info\n"
                   "chmod 755 /opt/blind/lxc-info"));
  Words starter = engines.starter();
  starter[starter.size() - 2] =
      ". /opt/engines.sh\nPATH=/opt/blind:$PATH\nshift\nexec /opt/banyan/banyan \"$@\"";
  ::signal(SIGPIPE, SIG_IGN);
  Program program({"run", "lxc:app", "--sh", "cat /etc/where; cat; exit 7"}, Program::Shape::kPipes, {},
                  starter);
  const Finished got = program.finish("given\n");
  CAPTURE(got.err);
  CHECK(got.out == "inside\ngiven\n");
  CHECK(got.code == 7);
  CHECK(left_in(engines, "lxc") == 1);
}

TEST_CASE("a container on a host that ssh reaches is a target like any, and nothing is left in it") {
  if (!has_engines()) return;
  RealEngines engines;
  engines.on_a(cat(kDocker, kOfDocker, "\n", kPodman, kOfPodman, "\n", kLxc));
  const Words all = {"A/docker:app", "A/podman:app", "A/lxc:app"};
  const std::string together = "A/docker:app,A/podman:app,A/lxc:app";
  const Finished got =
      run_at_home(engines, {"run", "-F", Chain::kRelay, together, "--", "cat", "/etc/where"});
  CAPTURE(got.out, got.err);
  CHECK(got.code == 0);
  for (const std::string& target : all) CHECK(contains(got.out, cat(target, ": inside\n")));
  const Finished tree = run_at_home(engines, {"tree", "-F", Chain::kRelay, together});
  CHECK(tree.code == 0);
  for (const char* name : {"docker:app", "podman:app", "lxc:app"}) CHECK(contains(tree.out, name));
  for (const char* engine : {"docker", "podman", "lxc"}) CHECK(left_in(engines, engine) == 1);

  SECTION("it is stopped in the middle of a command") {
    RunAtHome run(engines,
                  {"run", "-F", Chain::kRelay, "--json", "A/docker:app", "--sh", "echo up; sleep 1000"});
    engines.on_a("docker kill app");
    const nlohmann::json fail = check_lost(run, kAtOnce);
    CHECK(contains(fail.dump(), "docker:app"));
  }
  SECTION("the program is ended in the middle of a command") {
    for (const std::string& target : all) {
      CAPTURE(target);
      RunAtHome run(engines, {"run", "-F", Chain::kRelay, target, "--sh", "echo up; sleep 1000"});
      run.signal(engines.home().the("banyan"), SIGTERM);
      CHECK(run.program.finish().code == 128 + SIGTERM);
    }
    for (const char* engine : {"docker", "podman", "lxc"}) CHECK(left_in(engines, engine) == 1);
  }
}

TEST_CASE("what engines say when there is no way in is understood") {
  if (!has_engines()) return;
  RealEngines engines;
  struct Failure {
    std::string target, before, after;
    const char *error_class, *error, *remedy;
  };
  std::vector<Failure> table;
  for (const std::string engine : {"docker", "podman"}) {
    const std::string app = engine + ":app";
    table.insert(
        table.end(),
        {{engine + ":nosuch", "", "", "refused", "o such ",
          engine == "docker" ? "docker ps -a" : "podman ps -a"},
         {engine + ":ann@nosuch", "", "", "refused", "o such container", "ps -a"},
         {engine + ":nobodyhere@app", "", "", "refused", "", "is not in the container's /etc/passwd"},
         {app, cat(engine, " pause app"), cat(engine, " unpause app"), "refused", "paused", "unpause app"},
         {engine + ":ann@app", cat(engine, " exec app mv /bin/sh /bin/gone"),
          cat(engine, " exec app mv /bin/gone /bin/sh"), "bootstrap", "/bin/sh", "needs /bin/sh"},
         {app, cat(engine, " stop -t 0 app"), "", "refused", "not running", "start it"}});
  }
  table.push_back({"lxc:nosuch", "", "", "refused", "doesn't exist", "lxc-ls"});
  table.push_back(
      {"lxc:app", "lxc-freeze -n app", "lxc-unfreeze -n app", "refused", "paused", "lxc-unfreeze"});
  table.push_back({"lxc:app", "lxc-stop -k -n app", "", "refused", "", "start it"});
  table.push_back({"docker:app",
                   "kill $(cat /opt/state/docker.pid); while docker version; do sleep 0.05; done", "",
                   "bootstrap", "Cannot connect to the Docker daemon", "docker info"});
  engines.on_a(cat(kDocker, kOfDocker, "\n", kPodman, kOfPodman, "\n", kLxc));
  for (const Failure& row : table) {
    if (!row.before.empty()) engines.on_a(cat(row.before, " >/dev/null 2>&1; true"));
    const Finished got = engines.run_on_a({"run", row.target, "--json", "--", "true"});
    CAPTURE(row.target, row.before, got.out, got.err);
    CHECK(got.code == 255);
    const nlohmann::json fail = failure_in(got);
    REQUIRE(fail.is_object());
    CHECK(fail.at("phase") == "become");
    CHECK(fail.at("class") == row.error_class);
    CHECK(fail.at("started") == "no");
    CHECK(contains(fail.at("error").get<std::string>(), row.error));
    REQUIRE(fail.at("remedy").is_string());
    CHECK(contains(fail.at("remedy").get<std::string>(), row.remedy));
    if (!row.after.empty()) engines.on_a(row.after);
  }
}
