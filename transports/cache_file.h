// transports/cache_file.h -- a small file in the cache folder: read whole, written by replacing it, under a
// lock.
//
// So no program undoes what another wrote, and nobody sees half a file. Failure is harmless and silent: it is
// a cache. Nothing here waits for another program.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace banyan {

// Empty when there is none, when it is not a plain file of our own that nobody else can write, or is larger.
std::string read_cache_file(const std::string& path, std::size_t max);

// Makes the folder where it is missing. `make_text` runs under the lock, so it may read what is there and add
// to it. False: not written.
bool replace_cache_file(const std::string& folder, const std::string& name,
                        const std::function<std::string()>& make_text);

}  // namespace banyan
