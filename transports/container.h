// transports/container.h -- a child in a container, or in the namespaces of a process: two ways in.
//
// Where the engine names a process of this machine its namespaces are entered with our own image, out of
// sealed memory (parent/entry.h): nothing of the container is run for that, so it needs neither a shell nor a
// file system that can be written to. Else the engine's own exec runs stage 0 in there, as sudo does. Whoever
// starts one tries the first; an error with `wrong_guess` says that nothing has happened and the second is
// to be tried. See docs/design/008-containers.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "parent/recipe.h"

namespace banyan {

enum class Engine : std::uint8_t {
  kDocker,
  kPodman,
  kKubectl,
  kLxc,
  kLxd,
  kIncus,
  kNspawn,
  kNsenter,  // no engine: the namespaces of a process
};

struct ContainerTarget {
  std::string name;  // of the new context, for people
  Engine engine = Engine::kDocker;
  // As the engine calls it; kKubectl: POD, NAMESPACE:POD or NAMESPACE:POD:CONTAINER, in which NAMESPACE may
  // be empty; kNsenter: the number of a process. REQUIRES: checked by is_container_name().
  std::string container;
  std::string user;  // REQUIRES: empty, or checked (cli/targets.h) and takes_user(engine)
};

// As it is written in a target, before the ':', and as the method of a context.
std::string_view name_of(Engine engine);
// Whether its exec can run as another user than the container's own.
bool takes_user(Engine engine);
// The allow-list.
bool is_container_name(Engine engine, std::string_view name);

// Empty: there is no such way.
std::vector<std::string> lookup_words(const ContainerTarget& target);  // what names its first process
std::vector<std::string> exec_words(const ContainerTarget& target, std::string_view line);

// REQUIRES: that way is there. `nonce` is fresh for each start. `connect_timeout` bounds everything up to the
// hello; 0: the usual deadlines.
Recipe enter_container(const ContainerTarget& target, std::uint64_t nonce, Nanos connect_timeout = 0);
Recipe exec_in_container(const ContainerTarget& target, std::uint64_t nonce, Nanos connect_timeout = 0);

// What the engine, or the process that enters, says when it fails, and what that means.
std::vector<Symptom> container_symptoms(const ContainerTarget& target);

// An error of a start, as whoever started it saw it. `not_entered`: why the first way was not gone; empty:
// not known, or it was.
Error error_of_container(Error error, const ContainerTarget& target, std::string_view not_entered = {});

}  // namespace banyan
