# Keys, aliases and a key with imported material, by Terraform's AWS provider. Endpoint, region and access key come from
# the environment: AWS_ENDPOINT_URL_KMS, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true
}

variable "material" {
  type      = string
  sensitive = true
}

resource "aws_kms_key" "orders" {
  description             = "orders"
  deletion_window_in_days = 7
  enable_key_rotation     = true
  rotation_period_in_days = 180
  tags                    = { team = "shop" }
}

resource "aws_kms_alias" "orders" {
  name          = "alias/terraform-orders"
  target_key_id = aws_kms_key.orders.key_id
}

resource "aws_kms_external_key" "imported" {
  description             = "imported"
  deletion_window_in_days = 7
  enabled                 = true
  key_material_base64     = var.material
}

data "aws_kms_ciphertext" "password" {
  key_id    = aws_kms_alias.orders.target_key_id
  plaintext = "correct horse"
}

output "orders" {
  value = aws_kms_key.orders.key_id
}

output "imported" {
  value = aws_kms_external_key.imported.id
}
