#include "transports/container.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "core/text.h"
#include "parent/api/stage0.h"
#include "parent/entry.h"
#include "transports/stage0_recipe.h"

namespace banyan {
namespace {

constexpr std::size_t kContainerNameMax = 253;  // of a pod, the longest
constexpr std::size_t kPidDigitsMax = 9;        // so that it fits; the kernel's own limit has seven
// Nobody writes that for a container, and who means a port of a host called docker is not to end up in one.
constexpr std::size_t kPortDigitsMax = 5;

struct Facts {
  Engine engine;
  std::string_view name, program;
  bool takes_user;
};
constexpr Facts kEngines[] = {
    {Engine::kDocker, "docker", "docker", true},
    {Engine::kPodman, "podman", "podman", true},
    {Engine::kKubectl, "kubectl", "kubectl", false},
    {Engine::kLxc, "lxc", "lxc-attach", false},
    {Engine::kLxd, "lxd", "lxc", false},
    {Engine::kIncus, "incus", "incus", false},
    {Engine::kNspawn, "nspawn", "systemd-run", true},
    {Engine::kNsenter, "nsenter", "", false},
};

const Facts& facts_of(Engine engine) {
  return kEngines[std::size_t(engine)];
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter_or_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// No engine takes it for an option, and no shell for anything else.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= kContainerNameMax && is_letter_or_digit(name.front()) &&
         std::ranges::all_of(
             name, [](char c) { return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-'; });
}

struct Pod {
  std::string_view space, name, container;
};

// "POD", "SPACE:POD", "SPACE:POD:CONTAINER"
Pod pod_of(std::string_view text) {
  const std::size_t first = text.find(':');
  if (first == text.npos) return {{}, text, {}};
  const std::size_t second = text.find(':', first + 1);
  if (second == text.npos) return {text.substr(0, first), text.substr(first + 1), {}};
  return {text.substr(0, first), text.substr(first + 1, second - first - 1), text.substr(second + 1)};
}

void append(std::vector<std::string>& words, std::initializer_list<std::string_view> more) {
  words.insert(words.end(), more.begin(), more.end());
}

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += cat(line.empty() ? "" : " ", word);
  return line;
}

// Whose machine it is, and so its architecture, nobody has said.
Recipe begin_recipe(const ContainerTarget& target, std::uint64_t nonce, Nanos connect_timeout) {
  Recipe recipe = become_recipe(target.name, name_of(target.engine), nonce, {}, connect_timeout);
  recipe.symptoms = container_symptoms(target);
  return recipe;
}

}  // namespace

std::string_view name_of(Engine engine) {
  return facts_of(engine).name;
}

bool takes_user(Engine engine) {
  return facts_of(engine).takes_user;
}

bool is_container_name(Engine engine, std::string_view name) {
  const bool is_number = !name.empty() && std::ranges::all_of(name, is_digit);
  if (engine == Engine::kNsenter) return is_number && name.size() <= kPidDigitsMax && name.front() != '0';
  if (is_number && name.size() <= kPortDigitsMax) return false;
  if (engine != Engine::kKubectl) return is_plain_name(name);
  const Pod pod = pod_of(name);
  const bool names_container = std::ranges::count(name, ':') == 2;
  return is_plain_name(pod.name) &&
         (pod.space.empty() ? names_container || pod.space.data() == nullptr : is_plain_name(pod.space)) &&
         names_container == !pod.container.empty() && (!names_container || is_plain_name(pod.container));
}

std::vector<std::string> lookup_words(const ContainerTarget& target) {
  // Who it is in there only the engine knows, from a file of the container.
  if (!target.user.empty()) return {};
  switch (target.engine) {
    case Engine::kDocker:
    case Engine::kPodman:
      // The id tells whether the process is one of this machine: the engine may be on another.
      return {std::string(facts_of(target.engine).program),
              "inspect",
              "--type",
              "container",
              "--format",
              "{{if .State.Paused}}paused{{else}}{{.State.Pid}} {{.Id}} {{.Config.User}}{{end}}",
              target.container};
    case Engine::kLxc:
      return {"lxc-info", "-n", target.container, "-p", "-H"};
    case Engine::kNspawn:
      return {"machinectl", "show", target.container, "--property=Leader", "--property=Unit", "--value"};
    case Engine::kNsenter:
      return {target.container};
    case Engine::kKubectl:  // wherever the pod is
    case Engine::kLxd:      // these two may speak to another machine, and do not say whose process it is
    case Engine::kIncus:
      return {};
  }
  return {};
}

std::vector<std::string> exec_words(const ContainerTarget& target, std::string_view line) {
  const std::string& name = target.container;
  std::vector<std::string> words = {std::string(facts_of(target.engine).program)};
  switch (target.engine) {
    case Engine::kDocker:
    case Engine::kPodman:
      append(words, {"exec", "-i"});
      if (!target.user.empty()) append(words, {"-u", target.user});
      append(words, {name});
      break;
    case Engine::kKubectl: {
      const Pod pod = pod_of(name);
      append(words, {"exec", "-i", "-q"});
      if (!pod.space.empty()) append(words, {"-n", pod.space});
      append(words, {pod.name});
      if (!pod.container.empty()) append(words, {"-c", pod.container});
      append(words, {"--"});
      break;
    }
    case Engine::kLxc:
      append(words, {"-n", name, "--clear-env", "--"});  // this machine's is not the container's
      break;
    case Engine::kLxd:
    case Engine::kIncus:
      append(words, {"exec", name, "-T", "--"});
      break;
    case Engine::kNspawn:
      // Not machinectl shell: that is a terminal, with an escape of its own.
      words.push_back(cat("--machine=", name));
      append(words, {"--quiet", "--pipe", "--wait", "--collect"});
      if (!target.user.empty()) words.push_back(cat("--uid=", target.user));
      append(words, {"--"});
      break;
    case Engine::kNsenter:
      // nsenter(1) is a file of this machine that would run in there for a moment, and with all our rights.
      return {};
  }
  append(words, {"/bin/sh", "-c", line});
  return words;
}

std::vector<Symptom> container_symptoms(const ContainerTarget& target) {
  using C = ErrorClass;
  const std::string engine(name_of(target.engine));
  const std::string list = target.engine == Engine::kKubectl   ? "kubectl get pods -A"
                           : target.engine == Engine::kNspawn  ? "machinectl list"
                           : target.engine == Engine::kLxc     ? "lxc-ls --fancy"
                           : target.engine == Engine::kLxd     ? "lxc list"
                           : target.engine == Engine::kNsenter ? "ps -e"
                                                               : cat(engine, " ps -a");
  const std::string name = cat("check the name, on that machine: ", list);
  const std::string start = cat("start it; what there is, on that machine: ", list);
  const std::string rights = cat("who asks may not: become root there first (.../sudo/", target.name, ")",
                                 target.engine == Engine::kDocker ? ", or be in the group docker" : "");
  const std::string daemon =
      cat("see that it runs, on that machine: ",
          target.engine == Engine::kNspawn ? "systemctl status dbus systemd-machined" : cat(engine, " info"));
  const std::string cluster =
      "kubectl on that machine, as that user, needs a cluster and may need a login: kubectl auth whoami";
  const std::string roles = "have a role allow it: create on pods/exec, get on pods";
  const std::string shell =
      cat("the engine's exec needs /bin/sh in there; entering the namespaces needs nothing, but root on the "
          "container's machine: .../sudo/",
          target.name);
  const std::string unpause = target.engine == Engine::kLxc ? cat("lxc-unfreeze -n ", target.container)
                              : takes_user(target.engine)   ? cat(engine, " unpause ", target.container)
                                                            : "thaw its cgroup (cgroup.freeze)";
  // The first that is found counts. Of each engine's words as much as has stayed the same over its versions.
  const Complaint complaints[] = {
      {kNotInstalled, C::kBootstrap, "install it there, or see that it is in PATH"},
      // the clients' ways to their engines
      {"permission denied while trying to connect", C::kRefused, rights},
      {"Got permission denied", C::kRefused, rights},
      {"unix.socket: connect: permission denied", C::kRefused, rights},
      {"unix.socket\": dial unix", C::kBootstrap, daemon},
      {"Cannot connect to the Docker daemon", C::kBootstrap, daemon},
      {"failed to connect to the docker API", C::kBootstrap, daemon},
      {"Cannot connect to Podman", C::kBootstrap, daemon},
      {"unable to connect to Podman", C::kBootstrap, daemon},
      {"Failed to connect to bus", C::kBootstrap, daemon},
      {"Failed to create bus connection", C::kBootstrap, daemon},
      {"nteractive authentication required", C::kRefused, rights},
      {"nsufficient privileges", C::kRefused, rights},
      {"nsufficent privileges", C::kRefused, rights},
      {"(Forbidden)", C::kRefused, roles},
      {"(Unauthorized)", C::kAuth, cluster},
      {"must be logged in to the server", C::kAuth, cluster},
      {"The connection to the server", C::kUnreachable, cluster},
      {"Unable to connect to the server", C::kUnreachable, cluster},
      {"no configuration has been provided", C::kBootstrap, cluster},
      // the user in there, and the shell: before what says of a container that it is not found
      {"unable to find user", C::kRefused, "that user is not in the container's /etc/passwd"},
      {"no matching entries in passwd", C::kRefused, "that user is not in the container's /etc/passwd"},
      {"no users found", C::kRefused, "that user is not in the container's /etc/passwd"},
      {"executable file not found", C::kBootstrap, shell},
      {"/bin/sh: no such file", C::kBootstrap, shell},
      {"/bin/sh` not found", C::kBootstrap, shell},
      {"\"/bin/sh\": permission denied", C::kBootstrap, shell},
      {"Failed to find executable /bin/sh", C::kBootstrap, shell},
      {"Failed to exec \"/bin/sh\"", C::kBootstrap, shell},
      {"failed to execute: No such file", C::kBootstrap, shell},
      {"Command not found", C::kBootstrap, shell},
      // its state
      {"is paused", C::kRefused, unpause},
      {"is restarting", C::kRefused, "it ends as soon as it has begun: see its log"},
      {"not running", C::kRefused, start},
      {"container state improper", C::kRefused, start},
      {"completed pod", C::kRefused, start},
      {"does not have a host assigned", C::kRefused, "the pod has not been given to a node yet"},
      {"ailed to get init pid", C::kRefused, start},
      {"Connection refused - Failed to get", C::kRefused, start},
      {"no such process", C::kRefused, name},
      // what there is
      {"o such container", C::kRefused, name},
      {"o such object", C::kRefused, name},
      {"o container with name or ID", C::kRefused, name},
      {"(NotFound)", C::kRefused, name},
      {"container not found", C::kRefused, name},
      {"is not valid for pod", C::kRefused, name},
      {"nstance not found", C::kRefused, name},
      {"Error: not found", C::kRefused, name},
      {"doesn't exist", C::kRefused, name},
      {"is not defined", C::kRefused, name},
      {"No machine '", C::kRefused, name},
      {"o such machine", C::kRefused, name},
  };
  return become_symptoms(complaints);
}

Recipe enter_container(const ContainerTarget& target, std::uint64_t nonce, Nanos connect_timeout) {
  Recipe recipe = begin_recipe(target, nonce, connect_timeout);
  recipe.boot = Recipe::Boot::kNamespaces;
  recipe.argv = lookup_words(target);
  recipe.deadlines.hello += recipe.deadlines.auth;  // the engine is asked first
  return recipe;
}

Recipe exec_in_container(const ContainerTarget& target, std::uint64_t nonce, Nanos connect_timeout) {
  Recipe recipe = begin_recipe(target, nonce, connect_timeout);
  recipe.argv = exec_words(target, stage0_command(nonce, {}));
  return recipe;
}

Error error_of_container(Error error, const ContainerTarget& target, std::string_view not_entered) {
  if (error.error_class == ErrorClass::kCancelled) return error;
  // What has no phase of its own before the shell answers.
  if (error.phase < Phase::kShell) error.phase = Phase::kBecome;
  if (error.system_error == ENOENT)
    error.remedy = cat("install ", facts_of(target.engine).program, " there, or see that it is in PATH");
  // The first way was not open, and that is why the second counts at all.
  if (!not_entered.empty()) error.text = cat(error.text, " (and ", not_entered, ")");
  if (error.phase == Phase::kBecome && error.remedy.empty()) {
    std::vector<std::string> words = exec_words(target, "true");
    error.remedy = words.empty() ? std::string(
                                       "entering namespaces needs root on that machine, or a user "
                                       "namespace of one's own")
                                 : cat("see what it says by hand, on that machine: ", joined(words));
  }
  return error;
}

}  // namespace banyan
