#include "be/io/sim_image.hh"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "be/base/assert.hh"
#include "be/base/checksum.hh"

namespace pleach::io {

namespace {

const sim_block zeros{};

bool is_zero(const sim_block& b) {
  return std::memcmp(&b, &zeros, sizeof b) == 0;
}

}  // namespace

sim_image::sim_image(u64 size) {
  resize(size);
}

void sim_image::resize(u64 size) {
  const u64 old = size_;
  size_ = size;
  if (size < old) {
    // Zero the tail of the last kept block and drop the rest, so that a later growth shows zeros.
    const u64 kept = ceil_div<u64>(size, block_bytes);
    for (u64 i = kept; i < ceil_div<u64>(old, block_bytes); ++i) {
      if (block(i)) own_table(i).blocks[i % table_blocks] = nullptr;
    }
    if (u64 in_block = size % block_bytes; in_block && block(kept - 1)) {
      auto fresh = std::make_shared<sim_block>(*block(kept - 1));
      std::fill(fresh->bytes.begin() + static_cast<std::ptrdiff_t>(in_block), fresh->bytes.end(),
                std::byte{});
      own_table(kept - 1).blocks[(kept - 1) % table_blocks] = fresh;
    }
  }
  tables_.resize(ceil_div<u64>(ceil_div<u64>(size, block_bytes), table_blocks));
}

sim_image::table& sim_image::own_table(u64 index) {
  auto& t = tables_.at(index / table_blocks);
  if (!t) {
    t = std::make_shared<table>();
  } else if (t.use_count() > 1) {
    t = std::make_shared<table>(*t);
  }
  return *t;
}

const sim_block* sim_image::block(u64 index) const {
  const u64 t = index / table_blocks;
  if (t >= tables_.size() || !tables_[t]) return nullptr;
  return tables_[t]->blocks[index % table_blocks].get();
}

void sim_image::read(u64 offset, bytes out) const {
  while (!out.empty()) {
    const u64 at = offset % block_bytes;
    const u64 n = std::min<u64>(out.size(), block_bytes - at);
    const sim_block* b = block(offset / block_bytes);
    std::memcpy(out.data(), (b ? b : &zeros)->bytes.data() + at, n);
    offset += n;
    out = out.subspan(n);
  }
}

void sim_image::write(u64 offset, cbytes in) {
  PLEACH_ASSERT(offset + in.size() <= size_);
  while (!in.empty()) {
    const u64 index = offset / block_bytes, at = offset % block_bytes;
    const u64 n = std::min<u64>(in.size(), block_bytes - at);
    auto fresh = std::make_shared<sim_block>(block(index) ? *block(index) : zeros);
    std::memcpy(fresh->bytes.data() + at, in.data(), n);
    own_table(index).blocks[index % table_blocks] = std::move(fresh);
    offset += n;
    in = in.subspan(n);
  }
}

void sim_image::put(u64 index, const sim_block_ref& b, u8 mask) {
  if (mask == 0 || index * block_bytes >= size_) return;
  sim_block_ref& place = own_table(index).blocks[index % table_blocks];
  if (mask == 0xff) {
    place = b;
    return;
  }
  auto fresh = std::make_shared<sim_block>(place ? *place : zeros);
  for (u32 s = 0; s < block_sectors; ++s) {
    if (mask >> s & 1) {
      std::memcpy(fresh->bytes.data() + s * sector_bytes, b->bytes.data() + s * sector_bytes,
                  sector_bytes);
    }
  }
  place = std::move(fresh);
}

u64 sim_image::hash() const {
  u64 sum = mix64(size_);
  for (u64 i = 0; i < tables_.size() * table_blocks; ++i) {
    const sim_block* b = block(i);
    if (b && !is_zero(*b)) sum += mix64(hash64(b->bytes) ^ mix64(i));
  }
  return sum;
}

u64 sim_image::first_difference(const sim_image& a, const sim_image& b) {
  const u64 count = ceil_div<u64>(std::max(a.size_, b.size_), block_bytes);
  for (u64 i = 0; i < count; ++i) {
    if (i % table_blocks == 0 && i / table_blocks < std::min(a.tables_.size(), b.tables_.size()) &&
        a.tables_[i / table_blocks] == b.tables_[i / table_blocks]) {
      i += table_blocks - 1;
      continue;
    }
    const sim_block* x = a.block(i);
    const sim_block* y = b.block(i);
    if (x != y && std::memcmp(x ? x : &zeros, y ? y : &zeros, sizeof zeros) != 0) return i;
  }
  return ~u64{0};
}

bool operator==(const sim_image& a, const sim_image& b) {
  return a.size_ == b.size_ && sim_image::first_difference(a, b) == ~u64{0};
}

status sim_image::save(const std::string& path) const {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  for (u64 at = 0; at < size_; at += block_bytes) {
    const sim_block* b = block(at / block_bytes);
    const auto n = static_cast<std::streamsize>(std::min<u64>(block_bytes, size_ - at));
    const bool last = at + block_bytes >= size_;
    if (b || last) {
      out.seekp(static_cast<std::streamoff>(at));
      out.write(reinterpret_cast<const char*>((b ? b : &zeros)->bytes.data()), n);
    }
  }
  out.close();
  return out ? status{} : fail(errc::io);
}

result<sim_image> sim_image::load(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return fail(errc::no_file);
  sim_image image(static_cast<u64>(in.tellg()));
  in.seekg(0);
  for (u64 at = 0; at < image.size_; at += block_bytes) {
    auto b = std::make_shared<sim_block>();
    const auto n = static_cast<std::streamsize>(std::min<u64>(block_bytes, image.size_ - at));
    if (!in.read(reinterpret_cast<char*>(b->bytes.data()), n)) return fail(errc::io);
    if (!is_zero(*b)) image.put(at / block_bytes, b, 0xff);
  }
  return image;
}

}  // namespace pleach::io
