#include "core/info.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

std::uint64_t resident_kib() {
  const Fd file(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  char text[128];
  const ssize_t bytes = file ? retry([&] { return ::read(file.get(), text, sizeof text); }) : 0;
  std::string_view left(text, bytes > 0 ? std::size_t(bytes) : 0);
  take_number(left);
  return take_number(left) * std::uint64_t(::getpagesize()) / 1024;
}

}  // namespace

Buffer ContextInfo::encode() const {
  return Packer().array(4).number(pid).number(rss_kib).number(uptime_ms).number(running).take();
}

Result<ContextInfo> ContextInfo::decode(Bytes bytes) {
  Unpacker in(bytes);
  ContextInfo info;
  const bool has_all = in.array() == 4;
  info.pid = in.signed_number();
  info.rss_kib = in.number();
  info.uptime_ms = in.number();
  info.running = std::uint32_t(in.number(UINT32_MAX));
  if (!has_all || !in.finish())
    return Error{ErrorClass::kProtocol, Phase::kLink, "what the context says of itself cannot be read", {}};
  return info;
}

InfoService::InfoService(Loop& loop, Router& router, const ExecService& exec)
    : loop_(loop), router_(router), exec_(exec), began_(loop.now()) {
  router_.add_handler(kInfo, Access::ancestors(),
                      [this](Incoming& request) { router_.reply(request.header, info().encode()); });
}

ContextInfo InfoService::info() const {
  ContextInfo info;
  info.pid = ::getpid();
  info.rss_kib = resident_kib();
  info.uptime_ms = std::uint64_t((loop_.now() - began_) / kMillisecond);
  info.running = std::uint32_t(exec_.running());
  return info;
}

}  // namespace banyan
