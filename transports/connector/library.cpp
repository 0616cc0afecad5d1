#include "transports/connector/library.h"

#include <malloc.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/fd.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kFarewellMax = 512;
constexpr std::size_t kMethodsMax = 1024;  // sshd has five methods, and names of thirty letters

Library& library_of(void* const* abstract) {
  return *static_cast<Library*>(*abstract);
}

bool wipes(void* const* abstract) {
  return library_of(abstract).wipes;
}

void on_farewell(LIBSSH2_SESSION*, int /*reason*/, const char* message, int bytes, const char*, int,
                 void** abstract) {
  if (message != nullptr && bytes > 0)
    library_of(abstract).farewell.assign(message, std::min(std::size_t(bytes), kFarewellMax));
}

// Negative: an error's number, as libssh2 wants it.
ssize_t receive(int socket, void* to, std::size_t bytes, int flags, void** abstract) {
  Library& library = library_of(abstract);
  if (library.is_overfull || (library.is_early && library.early_left == 0)) return -ECONNABORTED;
  bytes = std::min(bytes, library.round_left);
  if (library.is_early) bytes = std::min(bytes, library.early_left);
  if (bytes == 0) return -EAGAIN;  // the socket tells that there is more
  const ssize_t got = retry([&] { return ::recv(socket, to, bytes, flags); });
  if (got < 0) return -errno;
  library.round_left -= std::size_t(got);
  if (library.is_early) library.early_left -= std::size_t(got);
  return got;
}

// To refuse the memory would lead through code of libssh2's that hardly ever ran; a packet more is no matter.
void* counted(void* memory, Library& library) {
  if (memory == nullptr) return nullptr;
  library.held += ::malloc_usable_size(memory);
  if (library.held > library.held_max) library.is_overfull = true;
  return memory;
}

// Asking for memory, libssh2 also tells a request how far it has come.
void* allocate(std::size_t bytes, void** abstract) {
  if (KeyRequest* request = library_of(abstract).request) request->on_allocation(bytes);
  return counted(std::malloc(bytes), library_of(abstract));
}

// If that is the packet of one. Asking for the list instead would be a request that the server counts, and a
// round trip.
void note_refusal(Library& library, Bytes memory) {
  constexpr std::uint8_t kUserauthFailure = 51;
  if (memory.empty() || memory[0] != kUserauthFailure) return;
  WireReader reader(memory.subspan(1));
  const std::string_view methods = reader.text();
  const std::uint8_t partial = reader.byte();
  const auto is_of_a_list = [](char c) { return c > ' ' && c <= '~'; };
  if (!reader.ok() || partial > 1 || methods.size() > kMethodsMax ||
      !std::ranges::all_of(methods, is_of_a_list))
    return;
  library.refusal = Refusal{std::string(methods), partial == 1};
}

// What others have made with malloc() for libssh2 to free was not counted.
void release(void* memory, void** abstract) {
  if (memory == nullptr) return;
  const std::size_t bytes = ::malloc_usable_size(memory);
  std::size_t& held = library_of(abstract).held;
  held -= std::min(held, bytes);
  if (library_of(abstract).notes_refusals)
    note_refusal(library_of(abstract), {static_cast<const std::uint8_t*>(memory), bytes});
  if (wipes(abstract)) ::explicit_bzero(memory, bytes);
  std::free(memory);
}

void* reallocate(void* memory, std::size_t bytes, void** abstract) {
  void* moved = counted(std::malloc(bytes), library_of(abstract));
  if (moved == nullptr || memory == nullptr) return moved;
  std::memcpy(moved, memory, std::min(bytes, ::malloc_usable_size(memory)));
  release(memory, abstract);
  return moved;
}

}  // namespace

LIBSSH2_SESSION* new_session(Library& library) {
  LIBSSH2_SESSION* session = libssh2_session_init_ex(allocate, release, reallocate, &library);
  if (session == nullptr) return nullptr;
  libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV, reinterpret_cast<void*>(&receive));
  libssh2_session_callback_set(session, LIBSSH2_CALLBACK_DISCONNECT, reinterpret_cast<void*>(&on_farewell));
  return session;
}

}  // namespace banyan::connector
