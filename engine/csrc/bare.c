/* For the bench only: the library in as tight a loop as it allows, with no number, no comparison and no IV of its own. */

#include "inside.h"

static const uint8_t NONCE[16];

static void bare_gcm(struct culvert_mb *mb, const struct culvert_packet *packet, int encrypt) {
    const struct gcm_key_data *key = cipher_of(packet->key);
    uint8_t *at = text_of(packet);
    size_t octets = text_octets(packet);
    if (encrypt)
        IMB_AES128_GCM_ENC(mb->manager, key, &mb->context, at, at, octets, NONCE, packet->esp, 8, mb->tags[0], 16);
    else
        IMB_AES128_GCM_DEC(mb->manager, key, &mb->context, at, at, octets, NONCE, packet->esp, 8, mb->tags[0], 16);
}

static void fill_chacha(IMB_JOB *job, const struct culvert_packet *packet) {
    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->enc_keys = job->dec_keys = cipher_of(packet->key);
    job->key_len_in_bytes = 32;
    job->iv = NONCE;
    job->iv_len_in_bytes = 12;
    job->u.CHACHA20_POLY1305.aad = packet->esp;
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = 8;
    job->hash_start_src_offset_in_bytes = HEADER_OCTETS + 8;
    job->msg_len_to_hash_in_bytes = text_octets(packet);
    job->auth_tag_output_len_in_bytes = 16;
}

static void fill_cbc(IMB_JOB *job, const struct culvert_packet *packet) {
    const struct culvert_key *key = packet->key;
    const struct expanded *expanded = cipher_of(key);
    int is_sha1 = key->hash == CULVERT_SHA1;
    job->cipher_mode = IMB_CIPHER_CBC;
    job->hash_alg = is_sha1 ? IMB_AUTH_HMAC_SHA_1 : IMB_AUTH_HMAC_SHA_256;
    job->enc_keys = expanded->encrypt;
    job->dec_keys = expanded->decrypt;
    job->key_len_in_bytes = key->key_octets;
    job->iv = packet->esp + HEADER_OCTETS;
    job->iv_len_in_bytes = 16;
    job->u.HMAC._hashed_auth_key_xor_ipad = hash_of(key);
    job->u.HMAC._hashed_auth_key_xor_opad = outer_of(key);
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_hash_in_bytes = packet->octets - key->icv_octets;
    job->auth_tag_output_len_in_bytes = is_sha1 ? 12 : 16;
}

static void bare_jobs(struct culvert_mb *mb, IMB_MGR *manager, const struct culvert_packet *packets, size_t count,
                      int encrypt) {
    IMB_JOB *job;
    for (size_t at = 0; at < count; at++) {
        const struct culvert_packet *packet = &packets[at];
        job = IMB_GET_NEXT_JOB(manager);
        job->src = packet->esp;
        job->dst = text_of(packet);
        job->cipher_start_src_offset_in_bytes = HEADER_OCTETS + packet->key->iv_octets;
        job->msg_len_to_cipher_in_bytes = text_octets(packet);
        job->cipher_direction = encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
        job->chain_order = encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
        job->auth_tag_output = mb->tags[at % BATCH_MAX];
        if (packet->key->kind == CULVERT_CHACHA)
            fill_chacha(job, packet);
        else
            fill_cbc(job, packet);
        for (job = IMB_SUBMIT_JOB_NOCHECK(manager); job != NULL; job = IMB_GET_COMPLETED_JOB(manager)) {
        }
    }
    while (IMB_FLUSH_JOB(manager) != NULL) {
    }
}

static int is_measured(const struct culvert_key *key) {
    if (key->kind == CULVERT_CBC)
        return key->hash == CULVERT_SHA1 || key->hash == CULVERT_SHA256;
    return key->kind == CULVERT_CHACHA || (key->kind == CULVERT_GCM && key->key_octets == 16);
}

int culvert_bare(struct culvert_mb *mb, struct culvert_packet *packets, size_t count, int encrypt) {
    for (size_t at = 0; at < count; at++)
        if (!is_measured(packets[at].key) || packets[at].key->kind != packets[0].key->kind)
            return 0;
    if (count == 0 || packets[0].key->kind != CULVERT_GCM) {
        IMB_MGR *manager = count && packets[0].key->hash == CULVERT_SHA256 ? mb->sha : mb->manager;
        bare_jobs(mb, manager, packets, count, encrypt);
        return 1;
    }
    for (size_t at = 0; at < count; at++)
        bare_gcm(mb, &packets[at], encrypt);
    return 1;
}
