// tests/simulation/raw_peer.h -- the far end of a simulated wire, whose frames are written by hand.
#pragma once

#include <catch2/catch.hpp>
#include <vector>

#include "core/frame.h"
#include "core/msgpack.h"
#include "tests/simulation/sim_loop.h"

namespace banyan::simulation {

inline Buffer pack(std::uint64_t number) {
  return Packer().array(1).number(number).take();
}

inline Header data_header(StreamId stream = 5, Handle handle = 0) {
  Header header;
  header.flags = kFirst | kLast;
  header.source = 2;
  header.destination = 1;
  header.stream = stream;
  header.handle = handle;
  return header;
}

inline Header control_header(Handle handle) {
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.handle = handle;
  return header;
}

inline Buffer encode(Header header, const Buffer& payload) {
  header.length = std::uint32_t(payload.size());
  Buffer bytes(kHeaderBytes);
  encode_header(header, bytes.data());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

// The other end of a link, which knows no rules.
class RawPeer {
 public:
  RawPeer(SimLoop& loop, int fd) : loop_(loop), fd_(fd) {
    watch_ = loop_.watch(fd_, {true, false}, [this](Ready ready) { on_ready(ready); });
  }
  ~RawPeer() { close(); }

  void send(const Buffer& bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    update();
  }
  void set_reading(bool reading) {
    is_reading_ = reading;
    update();
  }
  void close() {
    if (fd_ < 0) return;
    loop_.unwatch(watch_);
    loop_.close(fd_);
    fd_ = -1;
  }
  std::size_t count(Handle handle) const {
    std::size_t count = 0;
    for (const Header& header : frames) count += header.has(kControl) && header.handle == handle;
    return count;
  }

  std::vector<Header> frames;    // what the link sent
  std::vector<ContextId> ended;  // of whom it said so, in order
  std::uint64_t credit = 0;      // what it granted, beyond the first window
  bool was_thrown_out = false;

 private:
  void update() {
    if (fd_ >= 0) loop_.change(watch_, {is_reading_, !out_.empty()});
  }
  void on_ready(Ready ready) {
    if (ready.write && !out_.empty()) {
      const iovec part = {out_.data(), out_.size()};
      const IoResult result = loop_.write(fd_, &part, 1);
      if (result.status == IoResult::Status::kOk)
        out_.erase(out_.begin(), out_.begin() + std::ptrdiff_t(result.bytes));
      if (result.status == IoResult::Status::kError) {
        was_thrown_out = true;
        return close();
      }
      update();
    }
    if (!ready.read) return;
    std::uint8_t bytes[65536];
    const IoResult result = loop_.read(fd_, bytes, sizeof bytes);
    if (result.status == IoResult::Status::kOk) in_.insert(in_.end(), bytes, bytes + result.bytes);
    if (result.status == IoResult::Status::kEnd || result.status == IoResult::Status::kError) {
      was_thrown_out = true;
      return close();
    }
    while (in_.size() >= kHeaderBytes) {
      const Result<Header> header = decode_header(in_.data());
      REQUIRE(bool(header));
      if (in_.size() < header->wire_bytes()) return;
      frames.push_back(*header);
      if (header->has(kControl) && header->handle == kLinkCredit) {
        Unpacker in(Bytes(in_).subspan(kHeaderBytes, header->length));
        in.array();
        credit += in.number();
        CHECK(in.finish());
      }
      if (header->has(kControl) && header->handle == kDelRoute && !header->is_dead()) {
        Unpacker in(Bytes(in_).subspan(kHeaderBytes, header->length));
        for (std::uint32_t left = in.array(); left > 0; --left) ended.push_back(ContextId(in.number()));
        CHECK(in.finish());
      }
      in_.erase(in_.begin(), in_.begin() + std::ptrdiff_t(header->wire_bytes()));
    }
  }

  SimLoop& loop_;
  int fd_;
  Loop::WatchId watch_ = 0;
  Buffer in_, out_;
  bool is_reading_ = true;
};

}  // namespace banyan::simulation
