// The steps of quickstart in Node: encrypts a file under a data key, and decrypts it only under the right conditions.
//
//   KMS_GRPC_ENDPOINT=HOST:PORT KMS_GRPC_TOKEN=… node quickstart.mjs FILE REGION OTHER-REGION PROTOS [PROTOS …]
//
// Prints one JSON object per step. The exit code is 0 only if every step did what it says.
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import { Kms, KmsError } from './kms_client.mjs';

const [file, region, otherRegion, ...protos] = process.argv.slice(2);
const kms = new Kms({ address: process.env.KMS_GRPC_ENDPOINT, token: process.env.KMS_GRPC_TOKEN, region, protos });
const context = { file: 'quickstart', client: 'node' };

// --- encryption of a file under a data key, without the service ---

function seal(plaintext, { plaintext: key, ciphertextBlob }) {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const body = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return { blob: ciphertextBlob, nonce, body, tag: cipher.getAuthTag() };
}

function open({ nonce, body, tag }, key) {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAuthTag(tag);
  return Buffer.concat([decipher.update(body), decipher.final()]);
}

const unwrap = (envelope, more = {}, where = {}) =>
  kms.call('Decrypt', { ciphertextBlob: envelope.blob, encryptionContext: context, ...more }, where);

async function refused(promise, expected) {
  const error = await promise.then(() => assert.fail('the call was not refused'), (reason) => reason);
  if (!(error instanceof KmsError)) throw error;
  assert.deepEqual({ reason: error.reason, status: error.status, domain: error.domain }, { domain: 'kms_grpc.v1', ...expected });
  return error;
}

// --- the steps ---

const state = {};
const steps = {
  async 'a key and an alias'() {
    const { response, trailers } = await kms.call('CreateKey', { description: 'made by Node' });
    state.key = response.keyMetadata;
    state.alias = `alias/node-${randomUUID()}`;
    await kms.call('CreateAlias', { aliasName: state.alias, targetKeyId: state.key.keyId });
    assert.equal(state.key.keyState, 'KEY_STATE_ENABLED');
    assert.equal(trailers['kms-region'], region);
    assert.ok(trailers['kms-worker'] && trailers['kms-request-id']);
    return state.key.arn;
  },

  async 'a file encrypted under a data key'() {
    state.plaintext = readFileSync(file);
    const { response } = await kms.call('GenerateDataKey', {
      keyId: state.alias, keySpec: 'DATA_KEY_SPEC_AES_256', encryptionContext: context,
    });
    assert.equal(response.keyId, state.key.arn);
    state.envelope = seal(state.plaintext, response);
    assert.ok(!state.envelope.body.includes(state.plaintext.subarray(0, 64)));
    return `${state.plaintext.length} bytes, data key of ${response.ciphertextBlob.length} bytes`;
  },

  async 'decrypted, byte for byte'() {
    const { response } = await unwrap(state.envelope);
    assert.ok(open(state.envelope, response.plaintext).equals(state.plaintext));
    assert.equal(response.keyMaterialId.length, 64);
    return response.keyId;
  },

  async 'refused with another key'() {
    const { response } = await kms.call('CreateKey');
    const other = response.keyMetadata.keyId;
    const error = await refused(unwrap(state.envelope, { keyId: other }), { reason: 'IncorrectKeyException', status: status.INVALID_ARGUMENT });
    await kms.call('DisableKey', { keyId: other });
    return error.message;
  },

  async 'refused in another region'() {
    const there = { region: otherRegion };
    const error = await refused(unwrap(state.envelope, {}, there), { reason: 'AccessDeniedException', status: status.PERMISSION_DENIED });
    await refused(kms.call('DescribeKey', { keyId: state.key.arn }, there), { reason: 'NotFoundException', status: status.NOT_FOUND });
    return error.message;
  },

  async 'refused with another encryption context'() {
    const changed = unwrap(state.envelope, { encryptionContext: { ...context, more: 'pairs' } });
    const error = await refused(changed, { reason: 'InvalidCiphertextException', status: status.INVALID_ARGUMENT });
    assert.equal(error.message, '');
    return error.reason;
  },

  async 'refused with a flipped bit'() {
    for (const at of [0, 10, 60, state.envelope.blob.length - 1]) {
      const blob = Buffer.from(state.envelope.blob);
      blob[at] ^= 1;
      const error = await refused(unwrap({ blob }), { reason: 'InvalidCiphertextException', status: status.INVALID_ARGUMENT });
      assert.equal(error.message, '');
    }
    state.envelope.tag[0] ^= 1;
    const { response } = await unwrap(state.envelope);
    assert.throws(() => open(state.envelope, response.plaintext));
    state.envelope.tag[0] ^= 1;
    return 'in four places of the data key, and in the file';
  },

  async 'refused while the key is disabled'() {
    await kms.call('DisableKey', { keyId: state.key.keyId });
    const error = await refused(unwrap(state.envelope), { reason: 'DisabledException', status: status.FAILED_PRECONDITION });
    assert.equal(error.message, `${state.key.arn} is disabled.`);
    assert.equal(error.facts.key, state.key.arn);
    return error.message;
  },

  async 'decrypted after the key is enabled'() {
    await kms.call('EnableKey', { keyId: state.key.keyId });
    const { response } = await unwrap(state.envelope);
    assert.ok(open(state.envelope, response.plaintext).equals(state.plaintext));
    return response.keyId;
  },

  async 'refused beyond the limit of GetLimits'() {
    const { response } = await kms.call('GetLimits');
    const most = response.calls.maxPlaintextBytes;
    await kms.call('Encrypt', { keyId: state.alias, plaintext: Buffer.alloc(most) });
    const more = kms.call('Encrypt', { keyId: state.alias, plaintext: Buffer.alloc(most + 1) });
    const error = await refused(more, { reason: 'ValidationException', status: status.INVALID_ARGUMENT });
    assert.ok(response.regions.includes(region) && response.regions.includes(otherRegion));
    return error.message;
  },

  async 'refused with a wrong token'() {
    const call = kms.call('ListKeys', {}, { token: 'not-a-token' });
    const error = await refused(call, { reason: 'UnrecognizedClientException', status: status.UNAUTHENTICATED });
    return error.message;
  },

  async 'the alias deleted'() {
    await kms.call('DeleteAlias', { aliasName: state.alias });
    const error = await refused(kms.call('DescribeKey', { keyId: state.alias }), { reason: 'NotFoundException', status: status.NOT_FOUND });
    return error.message;
  },
};

for (const [step, run] of Object.entries(steps)) {
  try {
    console.log(JSON.stringify({ step, done: true, answer: await run() }));
  } catch (error) {
    console.log(JSON.stringify({ step, done: false, answer: `${error.stack ?? error}`, reason: error.reason }));
    process.exitCode = 1;
    break;
  }
}
kms.close();
