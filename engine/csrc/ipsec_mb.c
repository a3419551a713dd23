/* A thin layer over libipsec-mb: batches of ESP packets in place.
 *
 * AES-GCM and GMAC go packet by packet, since one packet alone fills the processor's vectors. The rest goes by the
 * library's job manager, which works on many packets side by side, whatever their keys.
 *
 * With extended sequence numbers a hash also covers the upper 32 bits of the number, behind the packet and not on the
 * wire (RFC 4303 section 2.2.1). They are put where the ICV will be while it is made: an ICV is longer.
 *
 * The library decrypts as it hashes. So that nobody can look at what isn't authentic, zeros are put over it; the same
 * becomes of a packet that could not be sealed, which would otherwise go out in clear. */

#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    IMB_HASH_ALG algorithm;
    size_t tag_octets;
} HASHES[] = {
    [CULVERT_NO_HASH] = {IMB_AUTH_NULL, 0},        [CULVERT_MD5] = {IMB_AUTH_MD5, 12},
    [CULVERT_SHA1] = {IMB_AUTH_HMAC_SHA_1, 12},    [CULVERT_SHA256] = {IMB_AUTH_HMAC_SHA_256, 16},
    [CULVERT_SHA384] = {IMB_AUTH_HMAC_SHA_384, 24}, [CULVERT_SHA512] = {IMB_AUTH_HMAC_SHA_512, 32},
    [CULVERT_XCBC] = {IMB_AUTH_AES_XCBC, 12},      [CULVERT_CMAC] = {IMB_AUTH_AES_CMAC, 12},
};

static int differ(const uint8_t *one, const uint8_t *other, size_t octets) {
    uint8_t difference = 0;
    for (size_t at = 0; at < octets; at++)
        difference |= one[at] ^ other[at];
    return difference != 0;
}

/* The manager */

static const char *instructions(const IMB_MGR *manager) {
    switch (manager->used_arch) {
    case IMB_ARCH_AVX512: return "avx512";
    case IMB_ARCH_AVX2: return "avx2";
    case IMB_ARCH_AVX: return "avx";
    default: return "sse";
    }
}

static int works(IMB_MGR *manager) {
    return imb_get_errno(manager) == 0 && manager->used_arch != IMB_ARCH_NONE &&
           (!(manager->features & IMB_FEATURE_SELF_TEST) || (manager->features & IMB_FEATURE_SELF_TEST_PASS));
}

/* Without AVX-512, SHA-256 with the processor's own instructions, which the library's code for SSE uses, is faster than
 * eight packets side by side. */
static IMB_MGR *manager_for_sha(IMB_MGR *manager) {
    IMB_ARCH arch = manager->used_arch;
    if ((arch != IMB_ARCH_AVX && arch != IMB_ARCH_AVX2) || !(manager->features & IMB_FEATURE_SHANI))
        return manager;
    IMB_MGR *sha = alloc_mb_mgr(0);
    if (sha == NULL)
        return manager;
    init_mb_mgr_sse(sha);
    if (works(sha))
        return sha;
    free_mb_mgr(sha);
    return manager;
}

struct culvert_mb *culvert_mb_new(char *words, size_t words_octets) {
    struct culvert_mb *mb = calloc(1, sizeof *mb);
    IMB_ARCH arch = IMB_ARCH_NONE;
    if (mb == NULL)
        return NULL;
    mb->manager = alloc_mb_mgr(0);
    if (mb->manager != NULL)
        init_mb_mgr_auto(mb->manager, &arch);
    if (mb->manager == NULL || arch == IMB_ARCH_NONE || !works(mb->manager)) {
        culvert_mb_free(mb);
        return NULL;
    }
    mb->sha = manager_for_sha(mb->manager);
    snprintf(words, words_octets, "ipsec-mb %s, %s", imb_get_version_str(), instructions(mb->manager));
    return mb;
}

void culvert_mb_free(struct culvert_mb *mb) {
    if (mb->sha != NULL && mb->sha != mb->manager)
        free_mb_mgr(mb->sha);
    if (mb->manager != NULL)
        free_mb_mgr(mb->manager);
    imb_clear_mem(mb, sizeof *mb);
    free(mb);
}

/* One packet by itself */

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

static void gcm(struct culvert_mb *mb, const struct culvert_packet *packet, uint8_t *tag, int encrypt) {
    const struct culvert_key *key = packet->key;
    IMB_MGR *manager = mb->manager;
    uint8_t nonce[16], associated[16], *at = text_of(packet);
    size_t octets = associate(packet, associated), text = text_octets(packet);
    make_nonce(packet, nonce);
#define RUN(function) \
    function(manager, cipher_of(key), &mb->context, at, at, text, nonce, associated, octets, tag, key->icv_octets)
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

/* RFC 4543 section 3.3: header, IV and text are authenticated, and nothing is encrypted. */
static void gmac(struct culvert_mb *mb, const struct culvert_packet *packet, uint8_t *tag) {
    const struct culvert_key *key = packet->key;
    IMB_MGR *manager = mb->manager;
    struct gcm_context_data *context = &mb->context;
    uint8_t nonce[16], associated[16];
    size_t octets = associate(packet, associated), rest = key->iv_octets + text_octets(packet);
    make_nonce(packet, nonce);
#define RUN(bits)                                                                                     \
    do {                                                                                              \
        IMB_AES##bits##_GMAC_INIT(manager, cipher_of(key), context, nonce, 12);                       \
        IMB_AES##bits##_GMAC_UPDATE(manager, cipher_of(key), context, associated, octets);            \
        IMB_AES##bits##_GMAC_UPDATE(manager, cipher_of(key), context, packet->esp + HEADER_OCTETS, rest); \
        IMB_AES##bits##_GMAC_FINALIZE(manager, cipher_of(key), context, tag, key->icv_octets);        \
    } while (0)
    switch (key->key_octets) {
    case 16: RUN(128); break;
    case 24: RUN(192); break;
    default: RUN(256); break;
    }
#undef RUN
}

static void judge(struct culvert_packet *packet, int right) {
    packet->right = right;
    if (!right)
        memset(text_of(packet), 0, text_octets(packet));
}

static void run_alone(struct culvert_mb *mb, struct culvert_packet *packet, int encrypt) {
    uint8_t *icv = icv_of(packet), *tag = encrypt ? icv : mb->tag_alone;
    if (packet->key->kind == CULVERT_GCM)
        gcm(mb, packet, tag, encrypt);
    else
        gmac(mb, packet, tag);
    judge(packet, encrypt || !differ(tag, icv, packet->key->icv_octets));
}

/* Jobs */

static void fill_chacha(struct culvert_mb *mb, IMB_JOB *job, const struct culvert_packet *packet, size_t slot) {
    make_nonce(packet, mb->ivs[slot]);
    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->enc_keys = job->dec_keys = cipher_of(packet->key);
    job->iv = mb->ivs[slot];
    job->iv_len_in_bytes = 12;
    job->u.CHACHA20_POLY1305.aad = mb->associated[slot];
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = associate(packet, mb->associated[slot]);
}

/* RFC 4309. CCM authenticates the clear text, so its order is the other way round. */
static void fill_ccm(struct culvert_mb *mb, IMB_JOB *job, const struct culvert_packet *packet, size_t slot) {
    make_nonce(packet, mb->ivs[slot]);
    job->cipher_mode = IMB_CIPHER_CCM;
    job->hash_alg = IMB_AUTH_AES_CCM;
    job->enc_keys = job->dec_keys = cipher_of(packet->key);
    job->iv = mb->ivs[slot];
    job->iv_len_in_bytes = 11;
    job->u.CCM.aad = mb->associated[slot];
    job->u.CCM.aad_len_in_bytes = associate(packet, mb->associated[slot]);
    job->chain_order = job->cipher_direction == IMB_DIR_ENCRYPT ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
}

static void fill_cipher(struct culvert_mb *mb, IMB_JOB *job, const struct culvert_packet *packet, size_t slot) {
    /* RFC 3686 section 4: nonce, IV, and a block counter that begins at one. */
    static const uint8_t FIRST_BLOCK[4] = {0, 0, 0, 1};
    const struct culvert_key *key = packet->key;
    job->iv = packet->esp + HEADER_OCTETS;
    job->iv_len_in_bytes = key->iv_octets;
    job->enc_keys = job->dec_keys = cipher_of(key);
    switch (key->kind) {
    case CULVERT_CBC:
        job->cipher_mode = IMB_CIPHER_CBC;
        job->dec_keys = ((const struct expanded *)cipher_of(key))->decrypt;
        break;
    case CULVERT_CTR:
        job->cipher_mode = IMB_CIPHER_CNTR;
        make_nonce(packet, mb->ivs[slot]);
        memcpy(mb->ivs[slot] + 12, FIRST_BLOCK, 4);
        job->iv = mb->ivs[slot];
        job->iv_len_in_bytes = 16;
        break;
    case CULVERT_TRIPLE_DES:
        job->cipher_mode = IMB_CIPHER_DES3;
        job->enc_keys = job->dec_keys = ((const struct triple *)cipher_of(key))->of;
        break;
    default: job->cipher_mode = IMB_CIPHER_NULL; break;
    }
}

static void fill_hash(IMB_JOB *job, const struct culvert_packet *packet) {
    const struct culvert_key *key = packet->key;
    const struct chained *chained = hash_of(key);
    size_t covered = packet->octets - key->icv_octets;
    job->hash_alg = HASHES[key->hash].algorithm;
    job->auth_tag_output_len_in_bytes = HASHES[key->hash].tag_octets;
    if (key->hash == CULVERT_XCBC) {
        job->u.XCBC._k1_expanded = chained->chain;
        job->u.XCBC._k2 = chained->one;
        job->u.XCBC._k3 = chained->other;
    } else if (key->hash == CULVERT_CMAC) {
        job->u.CMAC._key_expanded = chained->chain;
        job->u.CMAC._skey1 = chained->one;
        job->u.CMAC._skey2 = chained->other;
    } else {
        job->u.HMAC._hashed_auth_key_xor_ipad = hash_of(key);
        job->u.HMAC._hashed_auth_key_xor_opad = outer_of(key);
    }
    if (key->esn) {
        uint32_t upper = __builtin_bswap32((uint32_t)(packet->number >> 32));
        memcpy(packet->esp + covered, &upper, sizeof upper);
        covered += sizeof upper;
    }
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_hash_in_bytes = covered;
}

static void fill(struct culvert_mb *mb, IMB_JOB *job, struct culvert_packet *packet, size_t slot, int encrypt) {
    size_t start = HEADER_OCTETS + packet->key->iv_octets;
    job->src = packet->esp;
    job->dst = packet->esp + start;
    job->key_len_in_bytes = packet->key->key_octets;
    job->cipher_start_src_offset_in_bytes = job->hash_start_src_offset_in_bytes = start;
    job->msg_len_to_cipher_in_bytes = job->msg_len_to_hash_in_bytes = text_octets(packet);
    job->cipher_direction = encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    job->chain_order = encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->auth_tag_output = mb->tags[slot];
    job->auth_tag_output_len_in_bytes = packet->key->icv_octets;
    job->user_data = packet;
    job->user_data2 = (void *)slot;
    switch (packet->key->kind) {
    case CULVERT_CHACHA: fill_chacha(mb, job, packet, slot); break;
    case CULVERT_CCM: fill_ccm(mb, job, packet, slot); break;
    default:
        fill_cipher(mb, job, packet, slot);
        fill_hash(job, packet);
    }
}

static void finish(struct culvert_mb *mb, const IMB_JOB *job, int encrypt) {
    struct culvert_packet *packet = job->user_data;
    size_t slot = (size_t)job->user_data2, octets = packet->key->icv_octets;
    int done = job->status == IMB_STATUS_COMPLETED;
    if (encrypt)
        memcpy(icv_of(packet), mb->tags[slot], octets);
    else
        done = done && !differ(mb->tags[slot], mb->icvs[slot], octets);
    judge(packet, done);
}

static void submit(struct culvert_mb *mb, struct culvert_packet *packet, size_t slot, int encrypt) {
    IMB_MGR *manager = packet->key->hash == CULVERT_SHA256 ? mb->sha : mb->manager;
    if (!encrypt)
        memcpy(mb->icvs[slot], icv_of(packet), packet->key->icv_octets);
    IMB_JOB *job = IMB_GET_NEXT_JOB(manager);
    fill(mb, job, packet, slot, encrypt);
    for (job = IMB_SUBMIT_JOB_NOCHECK(manager); job != NULL; job = IMB_GET_COMPLETED_JOB(manager))
        finish(mb, job, encrypt);
}

static void flush(struct culvert_mb *mb, IMB_MGR *manager, int encrypt) {
    for (IMB_JOB *job = IMB_FLUSH_JOB(manager); job != NULL; job = IMB_FLUSH_JOB(manager))
        finish(mb, job, encrypt);
}

/* With many SAs, keys are not in the cache: the next one's comes while this packet is worked on. */
static void fetch_ahead(const struct culvert_packet *packets, size_t at, size_t count) {
    if (at + 2 < count)
        __builtin_prefetch(packets[at + 2].key);
    if (at + 1 == count || packets[at + 1].key == packets[at].key)
        return;
    const char *next = (const char *)packets[at + 1].key;
    for (size_t line = 64; line < packets[at + 1].key->octets; line += 64)
        __builtin_prefetch(next + line);
}

static void run(struct culvert_mb *mb, struct culvert_packet *packets, size_t count, int encrypt) {
    size_t jobs = 0;
    for (size_t at = 0; at < count; at++) {
        fetch_ahead(packets, at, count);
        uint8_t kind = packets[at].key->kind;
        if (kind == CULVERT_GCM || kind == CULVERT_GMAC)
            run_alone(mb, &packets[at], encrypt);
        else
            submit(mb, &packets[at], jobs++, encrypt);
    }
    if (jobs == 0)
        return;
    flush(mb, mb->manager, encrypt);
    if (mb->sha != mb->manager)
        flush(mb, mb->sha, encrypt);
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
