// Goal: an engine is asked in words that it takes, and says nothing by mistake; what it says when it fails
// becomes a class and a remedy, in phase become. Method: exact argument vectors; texts as the engines print
// them.
#include "transports/container.h"

#include <catch2/catch.hpp>
#include <cerrno>

#include "core/text.h"
#include "parent/api/stage0.h"
#include "parent/entry.h"

using namespace banyan;

namespace {

using Words = std::vector<std::string>;

ContainerTarget container(Engine engine, const char* name, const char* user = "") {
  return {cat(name_of(engine), ":", name), engine, name, user};
}

std::string exec_line(const ContainerTarget& target) {
  std::string line;
  for (const std::string& word : exec_words(target, "LINE")) line += cat(line.empty() ? "" : " ", word);
  return line;
}

}  // namespace

TEST_CASE("each engine's exec runs a line for /bin/sh over pipes, as the user that was asked for") {
  struct {
    ContainerTarget target;
    const char* line;
  } table[] = {
      {container(Engine::kDocker, "app"), "docker exec -i app /bin/sh -c LINE"},
      {container(Engine::kDocker, "app", "ann"), "docker exec -i -u ann app /bin/sh -c LINE"},
      {container(Engine::kPodman, "app", "1000"), "podman exec -i -u 1000 app /bin/sh -c LINE"},
      {container(Engine::kKubectl, "pod"), "kubectl exec -i -q pod -- /bin/sh -c LINE"},
      {container(Engine::kKubectl, "ns:pod.x"), "kubectl exec -i -q -n ns pod.x -- /bin/sh -c LINE"},
      {container(Engine::kKubectl, "ns:pod:web"), "kubectl exec -i -q -n ns pod -c web -- /bin/sh -c LINE"},
      {container(Engine::kKubectl, ":pod:web"), "kubectl exec -i -q pod -c web -- /bin/sh -c LINE"},
      {container(Engine::kLxc, "c1"), "lxc-attach -n c1 --clear-env -- /bin/sh -c LINE"},
      {container(Engine::kLxd, "c1"), "lxc exec c1 -T -- /bin/sh -c LINE"},
      {container(Engine::kIncus, "c1"), "incus exec c1 -T -- /bin/sh -c LINE"},
      {container(Engine::kNspawn, "m", "ann"),
       "systemd-run --machine=m --quiet --pipe --wait --collect --uid=ann -- /bin/sh -c LINE"},
      {container(Engine::kNsenter, "42"), ""},
  };
  for (const auto& row : table) {
    CAPTURE(row.line);
    CHECK(exec_line(row.target) == row.line);
  }
}

TEST_CASE("an engine is asked for its first process only where that may be one of this machine") {
  const Words docker = lookup_words(container(Engine::kDocker, "app"));
  CHECK(docker == Words{"docker", "inspect", "--type", "container", "--format",
                        "{{if .State.Paused}}paused{{else}}{{.State.Pid}} {{.Id}} {{.Config.User}}{{end}}",
                        "app"});
  CHECK(lookup_words(container(Engine::kPodman, "app")).front() == "podman");
  CHECK(lookup_words(container(Engine::kLxc, "c1")) == Words{"lxc-info", "-n", "c1", "-p", "-H"});
  CHECK(lookup_words(container(Engine::kNspawn, "m")) ==
        Words{"machinectl", "show", "m", "--property=Leader", "--property=Unit", "--value"});
  CHECK(lookup_words(container(Engine::kNsenter, "42")) == Words{"42"});
  for (const Engine elsewhere : {Engine::kKubectl, Engine::kLxd, Engine::kIncus})
    CHECK(lookup_words(container(elsewhere, "x1")).empty());
  CHECK(lookup_words(container(Engine::kDocker, "app", "ann")).empty());
}

TEST_CASE("a container's name is one that no engine takes for an option, and no port") {
  for (const char* good : {"app", "a.b_c-d", "0123456789ab", "9f86d08", "X"})
    CHECK(is_container_name(Engine::kDocker, good));
  for (const char* bad :
       {"", "-app", ".app", "_app", "a b", "a/b", "a:b", "a;b", "$(id)", "22", "65535", "\xc3\xa4"})
    CHECK_FALSE(is_container_name(Engine::kDocker, bad));
  CHECK_FALSE(is_container_name(Engine::kDocker, std::string(254, 'a')));
  for (const char* good : {"pod", "ns:pod", "ns:pod:c", ":pod:c", "pod.with.dots"})
    CHECK(is_container_name(Engine::kKubectl, good));
  for (const char* bad :
       {":pod", "ns:", "ns::c", "ns:pod:", "a:b:c:d", "::", ":", "-n:pod", "ns:-x", "ns:pod:-c"})
    CHECK_FALSE(is_container_name(Engine::kKubectl, bad));
  for (const char* good : {"1", "4194304", "999999999"}) CHECK(is_container_name(Engine::kNsenter, good));
  for (const char* bad : {"", "0", "01", "1234567890", "-1", "self", "1a"})
    CHECK_FALSE(is_container_name(Engine::kNsenter, bad));
}

TEST_CASE("the first way sends no stage 0, and the second waits to be told what machine it is") {
  const Recipe enter = enter_container(container(Engine::kDocker, "app"), 7, 5 * kSecond);
  CHECK((enter.boot == Recipe::Boot::kNamespaces));
  CHECK(enter.argv == lookup_words(container(Engine::kDocker, "app")));
  CHECK(enter.name == "docker:app");
  CHECK(enter.method == "docker");
  CHECK(enter.nonce == 7);
  CHECK(enter.deadlines.total == 5 * kSecond);
  const Recipe exec = exec_in_container(container(Engine::kDocker, "app"), 7);
  CHECK((exec.boot == Recipe::Boot::kStage0));
  CHECK(exec.argv.back() == stage0_command(7, ""));
  CHECK(exec.architecture == "");
  CHECK(exec.environment == std::vector<std::pair<std::string, std::string>>{{"LC_ALL", "C"}});
}

TEST_CASE("what an engine prints becomes a class and a remedy, in phase become") {
  struct {
    Engine engine;
    const char* text;
    ErrorClass error_class;
    const char* remedy;
  } table[] = {
      {Engine::kDocker, "Error response from daemon: No such container: app\n", ErrorClass::kRefused,
       "docker ps -a"},
      {Engine::kDocker, "Error: No such container: app\n", ErrorClass::kRefused, "docker ps -a"},
      {Engine::kDocker, "Error response from daemon: container 3f2a is not running\n", ErrorClass::kRefused,
       "start it"},
      {Engine::kDocker,
       "Error response from daemon: Container app is paused, unpause the container before exec\n",
       ErrorClass::kRefused, "docker unpause app"},
      {Engine::kDocker,
       "permission denied while trying to connect to the Docker daemon socket at "
       "unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/containers/app/json\": "
       "dial unix /var/run/docker.sock: connect: permission denied\n",
       ErrorClass::kRefused, "group docker"},
      {Engine::kDocker,
       "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n",
       ErrorClass::kBootstrap, "docker info"},
      {Engine::kDocker,
       "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/bin/sh\": stat "
       "/bin/sh: no such file or directory: unknown\n",
       ErrorClass::kBootstrap, "/bin/sh"},
      {Engine::kDocker, "unable to find user ann: no matching entries in passwd file\n", ErrorClass::kRefused,
       "/etc/passwd"},
      {Engine::kPodman, "Error: no container with name or ID \"app\" found: no such container\n",
       ErrorClass::kRefused, "podman ps -a"},
      {Engine::kPodman,
       "Error: can only create exec sessions on running containers: container state improper\n",
       ErrorClass::kRefused, "start it"},
      {Engine::kPodman,
       "Error: crun: executable file `/bin/sh` not found in $PATH: No such file or directory: OCI runtime "
       "attempted to invoke a command that was not found\n",
       ErrorClass::kBootstrap, "/bin/sh"},
      {Engine::kKubectl, "Error from server (NotFound): pods \"pod\" not found\n", ErrorClass::kRefused,
       "kubectl get pods -A"},
      {Engine::kKubectl, "Error from server (BadRequest): container x is not valid for pod pod\n",
       ErrorClass::kRefused, "kubectl get pods -A"},
      {Engine::kKubectl,
       "error: cannot exec into a container in a completed pod; current phase is Succeeded\n",
       ErrorClass::kRefused, "start it"},
      {Engine::kKubectl,
       "Error from server (Forbidden): pods \"pod\" is forbidden: User \"ann\" cannot create resource "
       "\"pods/exec\" in API group \"\" in the namespace \"default\"\n",
       ErrorClass::kRefused, "pods/exec"},
      {Engine::kKubectl, "error: You must be logged in to the server (Unauthorized)\n", ErrorClass::kAuth,
       "whoami"},
      {Engine::kKubectl,
       "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n",
       ErrorClass::kUnreachable, "kubectl"},
      {Engine::kLxc, "lxc-info: c1: ../src/lxc/tools/lxc_info.c: main: 396 c1 doesn't exist\n",
       ErrorClass::kRefused, "lxc-ls"},
      {Engine::kLxc,
       "lxc-attach: c1: ../src/lxc/attach.c: get_attach_context: 405 Connection refused - Failed to get init "
       "pid\n",
       ErrorClass::kRefused, "start it"},
      {Engine::kLxd, "Error: Instance not found\n", ErrorClass::kRefused, "lxc list"},
      {Engine::kLxd, "Error: Instance is not running\n", ErrorClass::kRefused, "start it"},
      {Engine::kIncus, "Error: The instance is not running\n", ErrorClass::kRefused, "start it"},
      {Engine::kNspawn, "Could not get path to machine: No machine 'm' known\n", ErrorClass::kRefused,
       "machinectl list"},
      {Engine::kNspawn, "Failed to connect to bus: No such file or directory\n", ErrorClass::kBootstrap,
       "systemd-machined"},
      {Engine::kNsenter, "4194304: no such process\n", ErrorClass::kRefused, "ps -e"},
  };
  for (const auto& row : table) {
    CAPTURE(row.text);
    const std::vector<Symptom> symptoms = container_symptoms(container(row.engine, "app"));
    const Symptom* symptom = find_symptom(symptoms, row.text);
    REQUIRE(symptom != nullptr);
    CHECK((symptom->phase == Phase::kBecome));
    CHECK((symptom->error_class == row.error_class));
    CHECK(symptom->remedy.find(row.remedy) != std::string::npos);
  }
}

TEST_CASE("that the namespaces were not entered is no symptom: then the engine's exec is tried") {
  const std::vector<Symptom> symptoms = container_symptoms(container(Engine::kDocker, "app"));
  for (const char* why :
       {"they may not be looked at: Permission denied", "its cgroup cannot be joined: 0::/docker/x",
        "docker does not name its first process", "its user: Invalid argument",
        "its first process is not one of this machine, or not marked as the engine's",
        "a security module (AppArmor, SELinux) confines it, and would not us"}) {
    CAPTURE(why);
    CHECK(find_symptom(symptoms, cat(kNotEntered, why, "\n")) == nullptr);
  }
  for (const std::string_view known : {kNotInstalled, kNotRunning, kNoProcess})
    CHECK(find_symptom(symptoms, cat("docker: ", known, "\n")) != nullptr);
}

TEST_CASE("an engine that is not there, or takes too long, has not let us in; why we did not enter is told") {
  const ContainerTarget app = container(Engine::kDocker, "app");
  Error missing{ErrorClass::kBootstrap, Phase::kConnect, "starting docker: No such file or directory", {}};
  missing.system_error = ENOENT;
  CHECK((error_of_container(missing, app).phase == Phase::kBecome));
  CHECK(error_of_container(missing, app).remedy.find("install docker") != std::string::npos);
  const Error late = error_of_container(
      {ErrorClass::kTimeout, Phase::kConnect, "nothing came of it within 40 s", {}}, app, "so it is");
  CHECK((late.phase == Phase::kBecome));
  CHECK(late.text == "nothing came of it within 40 s (and so it is)");
  CHECK(late.remedy.find("docker exec -i app /bin/sh -c true") != std::string::npos);
  const Error shell = error_of_container({ErrorClass::kBootstrap, Phase::kShell, "no directory", "r"}, app);
  CHECK((shell.phase == Phase::kShell));
  CHECK(shell.remedy == "r");
}
