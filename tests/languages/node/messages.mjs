// Decrypts messages of the service with the AWS Encryption SDK for JavaScript. Its keyring calls Decrypt of the service.
//
//   KMS_GRPC_ENDPOINT=HOST:PORT KMS_GRPC_TOKEN=… node messages.mjs REGION FOLDER PROTOS [PROTOS …]
//
// Prints a JSON object for each file in FOLDER: the digest of the plaintext, or the error.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import decryption from '@aws-crypto/decrypt-node';
import management from '@aws-crypto/material-management-node';
import { Kms } from './kms_client.mjs';

const [region, folder, ...protos] = process.argv.slice(2);
const kms = new Kms({ address: process.env.KMS_GRPC_ENDPOINT, token: process.env.KMS_GRPC_TOKEN, region, protos });
const { CommitmentPolicy, KeyringNode, KeyringTraceFlag } = management;

class ServiceKeyring extends KeyringNode {
  async _onEncrypt() {
    throw new Error('this keyring only decrypts');
  }

  async _onDecrypt(material, encryptedDataKeys) {
    const { providerId, providerInfo, encryptedDataKey } = encryptedDataKeys[0];
    const { response } = await kms.call('Decrypt', {
      ciphertextBlob: Buffer.from(encryptedDataKey), encryptionContext: { ...material.encryptionContext },
    });
    if (response.keyId !== providerInfo) throw new Error(`${providerInfo} is not ${response.keyId}`);
    const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY;
    const dataKey = Uint8Array.from(response.plaintext); // the library needs a buffer that is not shared
    return material.setUnencryptedDataKey(dataKey, { keyNamespace: providerId, keyName: providerInfo, flags });
  }
}

const { decrypt } = decryption.buildDecrypt(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
for (const name of readdirSync(folder).sort()) {
  const result = await decrypt(new ServiceKeyring(), readFileSync(join(folder, name))).then(
    ({ plaintext, messageHeader }) => ({
      sha256: createHash('sha256').update(plaintext).digest('hex'),
      suite: messageHeader.suiteId,
      context: { ...messageHeader.encryptionContext },
    }),
    (error) => ({ refused: error.message || String(error) }),
  );
  console.log(JSON.stringify({ name, ...result }));
}
process.exit(0);
