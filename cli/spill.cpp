#include "cli/spill.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/text.h"

namespace banyan::cli {
namespace {

// A file without a name. Not every file system can make one; then it loses its name at once.
Fd open_unnamed(const std::string& folder) {
  Fd file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600));
  if (file) return file;
  std::string name = cat(folder, "/banyan-output-XXXXXX");
  file = Fd(::mkostemp(name.data(), O_CLOEXEC));
  if (file) ::unlink(name.c_str());
  return file;
}

}  // namespace

Spill::Spill(std::string folder, std::size_t memory_max, std::uint64_t file_max)
    : folder_(std::move(folder)), memory_max_(memory_max), file_max_(file_max) {}

void Spill::append(Text& text, std::string_view bytes) {
  text.bytes_ += bytes.size();
  in_memory_ += bytes.size();
  while (!bytes.empty()) {
    const std::size_t take = std::min(bytes.size(), kSpillBlockBytes - text.tail_.size());
    text.tail_ += bytes.substr(0, take);
    bytes.remove_prefix(take);
    if (text.tail_.size() < kSpillBlockBytes) break;
    text.blocks_.push_back({std::exchange(text.tail_, {}), 0, std::uint32_t(kSpillBlockBytes)});
    put_away(text.blocks_.back());
  }
}

void Spill::seal(Text& text) {
  if (text.tail_.empty()) return;
  const auto bytes = std::uint32_t(text.tail_.size());
  text.tail_.shrink_to_fit();
  text.blocks_.push_back({std::exchange(text.tail_, {}), 0, bytes});
  put_away(text.blocks_.back());
}

void Spill::drop(Text& text) {
  in_memory_ -= text.tail_.size();
  for (const Text::Block& block : text.blocks_) {
    in_memory_ -= block.memory.size();
    if (block.memory.empty()) free_.push_back(block.slot);
  }
  text = Text();
}

bool Spill::read(const Text& text, std::size_t block, std::string& into) {
  if (block > text.blocks_.size()) return false;
  if (block == text.blocks_.size()) {
    into += text.tail_;
    return !text.tail_.empty();
  }
  const Text::Block& from = text.blocks_[block];
  if (!from.memory.empty()) {
    into += from.memory;
    return true;
  }
  const std::size_t before = into.size();
  into.resize(before + from.bytes);
  std::size_t done = 0;
  while (done < from.bytes) {
    const ssize_t got = retry([&] {
      return ::pread(file_.get(), into.data() + before + done, from.bytes - done,
                     off_t(from.slot) * off_t(kSpillBlockBytes) + off_t(done));
    });
    if (got <= 0) {
      into.resize(before + done);
      into += cat("\n(", from.bytes - done, " bytes cannot be read back: ",
                  std::string_view(got < 0 ? std::strerror(errno) : "the file has ended"), ")\n");
      return true;
    }
    done += std::size_t(got);
  }
  return true;
}

void Spill::put_away(Text::Block& block) {
  if (in_memory_ <= memory_max_ || has_failed() || !open_file()) return;
  if (free_.empty() && std::uint64_t(slots_) * kSpillBlockBytes >= file_max_)
    return fail(cat("more than ", file_max_ >> 20, " MiB"), 0);
  const std::uint32_t slot = free_.empty() ? slots_ : free_.back();
  std::size_t done = 0;
  while (done < block.bytes) {
    const ssize_t put = retry([&] {
      return ::pwrite(file_.get(), block.memory.data() + done, block.bytes - done,
                      off_t(slot) * off_t(kSpillBlockBytes) + off_t(done));
    });
    if (put <= 0) return fail("the temporary file", put < 0 ? errno : ENOSPC);
    done += std::size_t(put);
  }
  if (free_.empty()) {
    ++slots_;
  } else {
    free_.pop_back();
  }
  in_memory_ -= block.memory.size();
  std::string().swap(block.memory);  // an assignment would keep the room
  block.slot = slot;
}

bool Spill::open_file() {
  if (file_) return true;
  std::vector<std::string> folders = {folder_};
  if (folder_.empty()) {
    const char* set = std::getenv("TMPDIR");
    if (set != nullptr && *set != '\0') {
      folders = {set};
    } else {
      folders = {"/var/tmp", "/tmp"};
    }
  }
  for (const std::string& folder : folders) {
    file_ = open_unnamed(folder);
    if (file_) return true;
    if (folder == folders.back()) fail(cat("a temporary file in ", folder), errno);
  }
  return false;
}

void Spill::fail(std::string_view what, int error) {
  failure_ = error == 0 ? std::string(what) : cat(what, ": ", std::string_view(std::strerror(error)));
}

}  // namespace banyan::cli
