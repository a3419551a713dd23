/* A thin layer over libipsec-mb: keys prepared once, batches of ESP packets in place.
 *
 * AES-GCM goes packet by packet, since one packet alone fills the processor's vectors. A cipher with an HMAC goes by the
 * library's job manager, which works on many packets side by side, whatever their keys.
 *
 * With extended sequence numbers the HMAC also covers the upper 32 bits of the number, behind the packet and not on the
 * wire (RFC 4303 section 2.2.1). They are put where the ICV will be while it is made: an ICV is longer. */

#include "ipsec_mb.h"

#include <intel-ipsec-mb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_OCTETS 8
#define TAG_OCTETS_MAX 64
#define BATCH_MAX 256

struct culvert_mb {
    IMB_MGR *manager;
    uint8_t tags[BATCH_MAX][TAG_OCTETS_MAX];
    uint8_t icvs[BATCH_MAX][TAG_OCTETS_MAX];
    uint8_t ivs[BATCH_MAX][16];
    uint8_t associated[BATCH_MAX][16];
};

struct expanded {
    DECLARE_ALIGNED(uint32_t encrypt[15 * 4], 16);
    DECLARE_ALIGNED(uint32_t decrypt[15 * 4], 16);
};

/* The last part is as long as its kind needs. */
struct culvert_key {
    uint8_t kind, hash, esn, iv_octets, icv_octets, key_octets;
    uint8_t salt[4];
    uint8_t inner[64], outer[64];
    union {
        struct gcm_key_data gcm;
        struct expanded aes;
        uint8_t chacha[32];
    } of;
};

static const struct {
    IMB_HASH_ALG algorithm;
    size_t tag_octets, block_octets;
} HASHES[] = {
    [CULVERT_NO_HASH] = {IMB_AUTH_NULL, 0, 0},
    [CULVERT_SHA1] = {IMB_AUTH_HMAC_SHA_1, 12, IMB_SHA1_BLOCK_SIZE},
    [CULVERT_SHA256] = {IMB_AUTH_HMAC_SHA_256, 16, IMB_SHA_256_BLOCK_SIZE},
    [CULVERT_SHA384] = {IMB_AUTH_HMAC_SHA_384, 24, IMB_SHA_384_BLOCK_SIZE},
    [CULVERT_SHA512] = {IMB_AUTH_HMAC_SHA_512, 32, IMB_SHA_512_BLOCK_SIZE},
};

/* Not a loop that a compiler may leave out. */
static void wipe(void *place, size_t octets) {
    volatile uint8_t *at = place;
    while (octets--)
        *at++ = 0;
}

static int differ(const uint8_t *one, const uint8_t *other, size_t octets) {
    uint8_t difference = 0;
    for (size_t at = 0; at < octets; at++)
        difference |= one[at] ^ other[at];
    return difference != 0;
}

static const char *instructions(const IMB_MGR *manager) {
    switch (manager->used_arch) {
    case IMB_ARCH_AVX512: return "avx512";
    case IMB_ARCH_AVX2: return "avx2";
    case IMB_ARCH_AVX: return "avx";
    default: return "sse";
    }
}

struct culvert_mb *culvert_mb_new(char *words, size_t words_octets) {
    struct culvert_mb *mb = calloc(1, sizeof *mb);
    IMB_ARCH arch = IMB_ARCH_NONE;
    if (mb == NULL)
        return NULL;
    mb->manager = alloc_mb_mgr(0);
    if (mb->manager != NULL)
        init_mb_mgr_auto(mb->manager, &arch);
    if (mb->manager == NULL || imb_get_errno(mb->manager) != 0 || arch == IMB_ARCH_NONE) {
        culvert_mb_free(mb);
        return NULL;
    }
    snprintf(words, words_octets, "ipsec-mb %s, %s", imb_get_version_str(), instructions(mb->manager));
    return mb;
}

void culvert_mb_free(struct culvert_mb *mb) {
    if (mb->manager != NULL)
        free_mb_mgr(mb->manager);
    wipe(mb, sizeof *mb);
    free(mb);
}

size_t culvert_key_octets(enum culvert_kind kind) {
    size_t start = offsetof(struct culvert_key, of);
    switch (kind) {
    case CULVERT_GCM: return start + sizeof(struct gcm_key_data);
    case CULVERT_CHACHA: return start + 32;
    case CULVERT_NULL: return start;
    default: return start + sizeof(struct expanded);
    }
}

static void hash_block(IMB_MGR *manager, enum culvert_hash hash, const uint8_t *block, uint8_t *state) {
    switch (hash) {
    case CULVERT_SHA1: IMB_SHA1_ONE_BLOCK(manager, block, state); break;
    case CULVERT_SHA256: IMB_SHA256_ONE_BLOCK(manager, block, state); break;
    case CULVERT_SHA384: IMB_SHA384_ONE_BLOCK(manager, block, state); break;
    case CULVERT_SHA512: IMB_SHA512_ONE_BLOCK(manager, block, state); break;
    default: break;
    }
}

/* RFC 2104: both halves of the key, hashed as far as they don't depend on a packet. Keys are shorter than a block. */
static void prepare_hash(IMB_MGR *manager, struct culvert_key *key, const uint8_t *auth_key, size_t octets) {
    size_t block_octets = HASHES[key->hash].block_octets;
    uint8_t block[IMB_SHA_512_BLOCK_SIZE];
    for (int half = 0; half < 2; half++) {
        memset(block, half ? 0x5c : 0x36, block_octets);
        for (size_t at = 0; at < octets; at++)
            block[at] ^= auth_key[at];
        hash_block(manager, key->hash, block, half ? key->outer : key->inner);
    }
    wipe(block, sizeof block);
}

static void prepare_cipher(IMB_MGR *manager, struct culvert_key *key, const uint8_t *octets) {
    if (key->kind == CULVERT_CHACHA) {
        memcpy(key->of.chacha, octets, 32);
    } else if (key->kind == CULVERT_GCM) {
        switch (key->key_octets) {
        case 16: IMB_AES128_GCM_PRE(manager, octets, &key->of.gcm); break;
        case 24: IMB_AES192_GCM_PRE(manager, octets, &key->of.gcm); break;
        default: IMB_AES256_GCM_PRE(manager, octets, &key->of.gcm); break;
        }
    } else if (key->kind != CULVERT_NULL) {
        switch (key->key_octets) {
        case 16: IMB_AES_KEYEXP_128(manager, octets, key->of.aes.encrypt, key->of.aes.decrypt); break;
        case 24: IMB_AES_KEYEXP_192(manager, octets, key->of.aes.encrypt, key->of.aes.decrypt); break;
        default: IMB_AES_KEYEXP_256(manager, octets, key->of.aes.encrypt, key->of.aes.decrypt); break;
        }
    }
}

struct culvert_key *culvert_key_new(struct culvert_mb *mb, enum culvert_kind kind, const uint8_t *cipher_key,
                                    size_t key_octets, const uint8_t *salt, enum culvert_hash hash,
                                    const uint8_t *auth_key, size_t auth_octets, size_t iv_octets, size_t icv_octets,
                                    int esn) {
    size_t octets = (culvert_key_octets(kind) + 63) / 64 * 64;
    struct culvert_key *key = aligned_alloc(64, octets);
    if (key == NULL)
        return NULL;
    memset(key, 0, octets);
    key->kind = kind;
    key->hash = hash;
    key->esn = esn != 0;
    key->iv_octets = iv_octets;
    key->icv_octets = icv_octets;
    key->key_octets = key_octets;
    memcpy(key->salt, salt, sizeof key->salt);
    prepare_cipher(mb->manager, key, cipher_key);
    if (hash != CULVERT_NO_HASH)
        prepare_hash(mb->manager, key, auth_key, auth_octets);
    return key;
}

void culvert_key_free(struct culvert_key *key) {
    wipe(key, culvert_key_octets(key->kind));
    free(key);
}

/* Combined ciphers */

/* SPI and number as RFC 4106 section 5 has them; how many octets. */
static size_t associate(const struct culvert_packet *packet, uint8_t *to) {
    if (!packet->key->esn) {
        memcpy(to, packet->esp, 8);
        return 8;
    }
    uint32_t upper = __builtin_bswap32((uint32_t)(packet->number >> 32));
    memcpy(to, packet->esp, 4);
    memcpy(to + 4, &upper, 4);
    memcpy(to + 8, packet->esp + 4, 4);
    return 12;
}

static void make_nonce(const struct culvert_packet *packet, uint8_t *nonce) {
    memcpy(nonce, packet->key->salt, 4);
    memcpy(nonce + 4, packet->esp + HEADER_OCTETS, 8);
}

static size_t text_octets(const struct culvert_packet *packet) {
    return packet->octets - HEADER_OCTETS - packet->key->iv_octets - packet->key->icv_octets;
}

static void gcm(IMB_MGR *manager, const struct culvert_packet *packet, uint8_t *tag, int encrypt) {
    const struct culvert_key *key = packet->key;
    struct gcm_context_data context;
    uint8_t nonce[12], associated[16];
    size_t octets = associate(packet, associated), text = text_octets(packet);
    uint8_t *at = packet->esp + HEADER_OCTETS + key->iv_octets;
    make_nonce(packet, nonce);
#define RUN(function) \
    function(manager, &key->of.gcm, &context, at, at, text, nonce, associated, octets, tag, key->icv_octets)
    if (encrypt) {
        switch (key->key_octets) {
        case 16: RUN(IMB_AES128_GCM_ENC); break;
        case 24: RUN(IMB_AES192_GCM_ENC); break;
        default: RUN(IMB_AES256_GCM_ENC); break;
        }
    } else {
        switch (key->key_octets) {
        case 16: RUN(IMB_AES128_GCM_DEC); break;
        case 24: RUN(IMB_AES192_GCM_DEC); break;
        default: RUN(IMB_AES256_GCM_DEC); break;
        }
    }
#undef RUN
}

/* Jobs */

static void fill_combined(struct culvert_mb *mb, IMB_JOB *job, const struct culvert_packet *packet, size_t slot) {
    make_nonce(packet, mb->ivs[slot]);
    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->enc_keys = job->dec_keys = packet->key->of.chacha;
    job->key_len_in_bytes = 32;
    job->iv = mb->ivs[slot];
    job->iv_len_in_bytes = 12;
    job->u.CHACHA20_POLY1305.aad = mb->associated[slot];
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = associate(packet, mb->associated[slot]);
    job->hash_start_src_offset_in_bytes = job->cipher_start_src_offset_in_bytes;
    job->msg_len_to_hash_in_bytes = job->msg_len_to_cipher_in_bytes;
    job->auth_tag_output_len_in_bytes = 16;
}

static void fill_cipher(struct culvert_mb *mb, IMB_JOB *job, const struct culvert_packet *packet, size_t slot) {
    const struct culvert_key *key = packet->key;
    job->iv = packet->esp + HEADER_OCTETS;
    job->iv_len_in_bytes = 16;
    job->enc_keys = key->of.aes.encrypt;
    job->dec_keys = key->of.aes.decrypt;
    job->key_len_in_bytes = key->key_octets;
    if (key->kind == CULVERT_CBC) {
        job->cipher_mode = IMB_CIPHER_CBC;
    } else if (key->kind == CULVERT_CTR) {
        /* RFC 3686 section 4: nonce, IV, and a block counter that begins at one. */
        static const uint8_t FIRST_BLOCK[4] = {0, 0, 0, 1};
        job->cipher_mode = IMB_CIPHER_CNTR;
        make_nonce(packet, mb->ivs[slot]);
        memcpy(mb->ivs[slot] + 12, FIRST_BLOCK, 4);
        job->iv = mb->ivs[slot];
        job->dec_keys = key->of.aes.encrypt;
    } else {
        job->cipher_mode = IMB_CIPHER_NULL;
    }
}

static void fill_hash(IMB_JOB *job, const struct culvert_packet *packet) {
    const struct culvert_key *key = packet->key;
    size_t covered = packet->octets - key->icv_octets;
    job->hash_alg = HASHES[key->hash].algorithm;
    job->auth_tag_output_len_in_bytes = HASHES[key->hash].tag_octets;
    job->u.HMAC._hashed_auth_key_xor_ipad = key->inner;
    job->u.HMAC._hashed_auth_key_xor_opad = key->outer;
    job->hash_start_src_offset_in_bytes = 0;
    if (key->esn) {
        uint32_t upper = __builtin_bswap32((uint32_t)(packet->number >> 32));
        memcpy(packet->esp + covered, &upper, sizeof upper);
        covered += sizeof upper;
    }
    job->msg_len_to_hash_in_bytes = covered;
}

static void fill(struct culvert_mb *mb, IMB_JOB *job, struct culvert_packet *packet, size_t slot, int encrypt) {
    size_t start = HEADER_OCTETS + packet->key->iv_octets;
    job->src = packet->esp;
    job->dst = packet->esp + start;
    job->cipher_start_src_offset_in_bytes = start;
    job->msg_len_to_cipher_in_bytes = text_octets(packet);
    job->cipher_direction = encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    job->chain_order = encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->auth_tag_output = mb->tags[slot];
    job->user_data = packet;
    job->user_data2 = (void *)slot;
    if (packet->key->kind == CULVERT_CHACHA) {
        fill_combined(mb, job, packet, slot);
    } else {
        fill_cipher(mb, job, packet, slot);
        fill_hash(job, packet);
    }
}

static void finish(struct culvert_mb *mb, const IMB_JOB *job, int encrypt) {
    struct culvert_packet *packet = job->user_data;
    size_t slot = (size_t)job->user_data2, octets = packet->key->icv_octets;
    uint8_t *icv = packet->esp + packet->octets - octets;
    if (encrypt)
        memcpy(icv, mb->tags[slot], octets);
    else
        packet->right = job->status == IMB_STATUS_COMPLETED && !differ(mb->tags[slot], mb->icvs[slot], octets);
}

static void run(struct culvert_mb *mb, struct culvert_packet *packets, size_t count, int encrypt) {
    IMB_MGR *manager = mb->manager;
    IMB_JOB *job;
    for (size_t at = 0; at < count; at++) {
        struct culvert_packet *packet = &packets[at];
        size_t octets = packet->key->icv_octets;
        uint8_t *icv = packet->esp + packet->octets - octets;
        if (packet->key->kind == CULVERT_GCM) {
            if (encrypt) {
                gcm(manager, packet, icv, 1);
            } else {
                gcm(manager, packet, mb->tags[at], 0);
                packet->right = !differ(mb->tags[at], icv, octets);
            }
            continue;
        }
        if (!encrypt)
            memcpy(mb->icvs[at], icv, octets);
        job = IMB_GET_NEXT_JOB(manager);
        fill(mb, job, packet, at, encrypt);
        for (job = IMB_SUBMIT_JOB_NOCHECK(manager); job != NULL; job = IMB_GET_COMPLETED_JOB(manager))
            finish(mb, job, encrypt);
    }
    while ((job = IMB_FLUSH_JOB(manager)) != NULL)
        finish(mb, job, encrypt);
}

static void run_all(struct culvert_mb *mb, struct culvert_packet *packets, size_t count, int encrypt) {
    for (size_t at = 0; at < count; at += BATCH_MAX)
        run(mb, packets + at, count - at < BATCH_MAX ? count - at : BATCH_MAX, encrypt);
}

void culvert_seal(struct culvert_mb *mb, struct culvert_packet *packets, size_t count) {
    run_all(mb, packets, count, 1);
}

void culvert_open(struct culvert_mb *mb, struct culvert_packet *packets, size_t count) {
    run_all(mb, packets, count, 0);
}
